//! What a message would cost, and the next word, before anything is written.

use super::*;
use diptych_inference::engine::Overflow;
use egui_kittest::kittest::NodeT as _;

fn settings(bench: &mut Bench, change: impl FnOnce(&mut Conversation)) {
    let studio = bench.harness.state_mut().studio_mut();
    let mut settings = studio.chat.settings(&studio.house);
    change(&mut settings);
    studio.chat.set_settings(settings);
    bench.harness.run_steps(3);
}

#[test]
fn the_cost_of_a_message_is_told_before_it_is_sent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut bench = open()?;
    bench.type_into("Message", QUESTION);
    bench.wait_label(" new; ")?;
    let told = |bench: &Bench| {
        let found = bench.harness.query_all_by_label_contains(" new; ");
        let node = found.into_iter().next()?;
        let node = node.accesskit_node();
        node.label().or_else(|| node.value())
    };
    let first = told(&bench).context("no ledger")?;
    ensure!(first.contains(": 0 cached, "), "{first}");
    bench.press(Modifiers::NONE, Key::Enter);
    let answer = answered(&mut bench, MessageState::Done)?;
    ensure!(told(&bench).is_none(), "nothing is written");
    let tokens = answer.info.as_ref().map_or(0, |info| info.prompt_tokens);
    ensure!(
        first.starts_with(&format!("{tokens} tokens: ")),
        "{first}, {tokens}"
    );
    // The first turn is remembered.
    bench.type_into("Message", "Another one");
    bench.wait_label(" new; ")?;
    let second = told(&bench).context("no ledger")?;
    ensure!(!second.contains(": 0 cached, "), "{second}");

    // A file: its tokens, and then it is too long.
    let notes = folder.path().join("notes.txt");
    std::fs::write(&notes, "a red fox and a blue boat\n".repeat(400))?;
    bench.dialogs.answer(&notes);
    bench.harness.run_steps(6);
    bench.click("Attach a text file");
    bench.wait("tokens of the file", |bench| {
        let labels = bench.labels();
        labels
            .iter()
            .any(|label| label.starts_with("Remove notes.txt · ") && label.ends_with("tokens"))
    })?;
    bench.wait_label("Too long: ")?;
    // Old messages may drop out; a single one that is too long is still too long.
    let chip = bench
        .labels()
        .into_iter()
        .find(|label| label.starts_with("Remove notes.txt"));
    bench.click(&chip.context("no chip")?);
    bench.wait("a cost that fits", |bench| told(bench).is_some())?;
    Ok(())
}

#[test]
fn old_messages_drop_out_where_that_is_wanted() -> Result<()> {
    let mut bench = open()?;
    bench.click("Conversation settings");
    let switch = "Let old messages drop out";
    bench.harness.get_by_label(switch).scroll_to_me();
    bench.harness.run_steps(4);
    bench.click(switch);
    settings(&mut bench, |settings| settings.max_tokens = 8);
    apply(&mut bench, QueueCommand::PauseAll);
    say(&mut bench, "Hello");
    let request = request(&bench)?;
    ensure!(request.overflow == Overflow::Shift);
    apply(&mut bench, ChatCommand::Stop);
    apply(&mut bench, QueueCommand::ResumeAll);
    bench.wait_idle()?;
    Ok(())
}

#[test]
fn the_next_word_moves_with_the_settings() -> Result<()> {
    let mut bench = open()?;
    bench.type_into("Message", QUESTION);
    bench.click("Conversation settings");
    bench.harness.get_by_label("Next word").scroll_to_me();
    bench.harness.run_steps(4);
    bench.click("Next word");
    bench.wait_label("left to choose")?;
    settings(&mut bench, |settings| {
        settings.sampling.top_k = 2;
        settings.sampling.top_p = 1.0;
        settings.sampling.min_p = 0.0;
    });
    ensure!(bench.has("taken out by top-k"), "{:?}", bench.labels());
    ensure!(bench.has("2 words are left to choose from"));
    settings(&mut bench, |settings| settings.sampling.temperature = 0.0);
    ensure!(bench.has("1 word is left to choose"));
    ensure!(bench.has("“") && !studio(&bench).house.queue.tasks().iter().any(|_| true));
    // At a token of an answer.
    settings(&mut bench, |settings| settings.sampling.temperature = 0.8);
    bench.get("Message").focus();
    bench.harness.run_steps(2);
    bench.press(Modifiers::NONE, Key::Enter);
    answered(&mut bench, MessageState::Done)?;
    bench.click("How sure the model was");
    let is_token =
        |label: &String| label.starts_with('“') && label.ends_with('%') && !label.contains("was ");
    bench.wait("tokens", |bench| {
        bench
            .labels()
            .iter()
            .filter(|label| is_token(label))
            .count()
            > 3
    })?;
    let tokens: Vec<String> = bench.labels().into_iter().filter(is_token).collect();
    let token = tokens.iter().rev().nth(2).context("no token")?;
    let node = bench.harness.get_all_by_label(token).next();
    node.context("no token")?.click();
    bench.harness.run_steps(4);
    bench.click("Try the settings here");
    bench.wait_label("At the token that you chose")?;
    let spot = studio(&bench).chat.spot.context("no spot")?;
    ensure!(spot.bytes > 0);
    bench.wait("its distribution", |bench| {
        matches!(studio(bench).chat.distribution(), Some(Ok(_)))
    })?;
    bench.get("At the beginning of the answer").scroll_to_me();
    bench.harness.run_steps(4);
    bench.click("At the beginning of the answer");
    ensure!(studio(&bench).chat.spot.is_none());
    Ok(())
}

#[test]
fn the_settings_lie_beside_the_messages_and_not_on_them() -> Result<()> {
    for size in [[1024.0, 640.0], [1280.0, 800.0]] {
        let mut bench = open_with(Setup {
            size,
            ..Setup::default()
        })?;
        bench.click("Conversation settings");
        bench.harness.run_steps(4);
        // The panel begins a margin left of its fields; what is beside it keeps a margin, too.
        let panel = bench.get("What the model is told first").rect().left() - 16.0;
        let gap = panel - bench.get("Conversation settings").rect().right();
        ensure!((16.0..=28.0).contains(&gap), "{gap} beside the panel");
        let gap = panel - bench.get("Send").rect().right();
        // The composer's own margin and that of the messages.
        ensure!(
            (24.0..=40.0).contains(&gap),
            "{gap} between Send and the panel"
        );
    }
    Ok(())
}

#[test]
fn the_order_of_the_steps_is_the_persons() -> Result<()> {
    use diptych_inference::text::sampling::SamplingStage;
    let mut bench = open()?;
    bench.click("Conversation settings");
    bench
        .harness
        .get_by_label("Order of the steps")
        .scroll_to_me();
    bench.harness.run_steps(4);
    bench.click("Order of the steps");
    let order = |bench: &Bench| {
        let settings = studio(bench).chat.settings(&studio(bench).house);
        settings.sampling.order
    };
    let usual = order(&bench);
    bench
        .harness
        .get_by_label("Move Temperature up")
        .scroll_to_me();
    bench.harness.run_steps(4);
    bench.click("Move Temperature up");
    let now = order(&bench);
    ensure!(now[now.len() - 2] == SamplingStage::Temperature, "{now:?}");
    bench.harness.get_by_label("Usual order").scroll_to_me();
    bench.harness.run_steps(4);
    bench.click("Usual order");
    ensure!(order(&bench) == usual);
    Ok(())
}

#[test]
fn prompts_are_counted_in_the_tokens_of_the_model_that_draws() -> Result<()> {
    let mut bench = open()?;
    bench.click("Create");
    bench.wait_label("Prompt")?;
    bench.type_into("Prompt", "a red fox, (flat style:1.2)");
    // Five words and a comma; brackets and weights are no tokens.
    bench.wait("the tokens", |bench| bench.has("6 of 75 tokens"))?;
    bench.type_into("Prompt", &", a fox".repeat(10));
    bench.wait("more tokens", |bench| bench.has("36 of 75 tokens"))?;
    // Longer prompts are read in parts.
    bench.type_into("Prompt", &", a fox".repeat(20));
    bench.wait("two readings", |bench| bench.has("96 of 150 tokens"))?;
    Ok(())
}
