//! How what conversations leave in memory is kept: chosen in the settings, told in bytes, and true.

use super::*;
use diptych::studio::command::AppCommand;
use diptych::studio::session::EngineState;
use diptych::studio::view::Drawer;
use diptych_inference::engine::KvChoice;

/// Bytes of the caches after an answer.
fn states_after_an_answer(bench: &mut Bench) -> Result<u64> {
    say(bench, QUESTION);
    answered(bench, MessageState::Done)?;
    bench.wait("the memory in use", |bench| {
        let memory = studio(bench).house.memory;
        memory.is_some_and(|memory| memory.states > 0)
    })?;
    Ok(studio(bench).house.memory.map_or(0, |memory| memory.states))
}

#[test]
fn conversations_take_less_memory_where_that_is_chosen() -> Result<()> {
    let mut bench = open()?;
    let wide = states_after_an_answer(&mut bench)?;
    apply(&mut bench, AppCommand::Drawer(Drawer::Settings));
    bench.wait_label("Memory of conversations")?;
    bench.wait_label("32-bit (exact) where it fits beside the model, else 16-bit. A full conversation of 1,024 tokens takes")?;
    bench.get("8-bit").scroll_to_me();
    bench.harness.run_steps(4);
    bench.click("8-bit");
    bench.wait("the engine", |bench| {
        let house = &studio(bench).house;
        house.settings.kv_type == KvChoice::Q8
            && matches!(house.engine, EngineState::Ready { .. })
            && house.shelf.chatting().next().is_some()
    })?;
    bench.harness.run_steps(4);
    ensure!(bench.has("About a quarter of the memory"));
    apply(&mut bench, AppCommand::CloseDrawer);
    // The conversation goes on: what the model remembered was lost with the old engine, and is read again.
    let narrow = states_after_an_answer(&mut bench)?;
    ensure!(
        narrow * 100 < wide * 40 && narrow * 100 > wide * 20,
        "{narrow} of {wide}"
    );
    let data = bench.data().to_owned();
    bench.wait_idle()?;
    let kept = Library::open_read_only(&data)?.settings()?;
    let settings = diptych::studio::settings::Settings::read(&kept);
    ensure!(settings.kv_type == KvChoice::Q8);
    Ok(())
}
