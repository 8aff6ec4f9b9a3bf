//! Several answers to one question: those that the model writes at once, and the person's own.

use super::*;

#[test]
fn an_answer_is_reworded_and_the_model_goes_on_from_there() -> Result<()> {
    let mut bench = open()?;
    say(&mut bench, QUESTION);
    let first = answered(&mut bench, MessageState::Done)?;
    bench.click("Reword the answer");
    bench.wait_label("New wording")?;
    bench.press(Modifiers::COMMAND, Key::A);
    bench.type_into("New wording", "A blue boat, flat");
    let gap = bench.get("Keep wording").rect().min.y - bench.get("New wording").rect().max.y;
    ensure!(
        (0.0..=32.0).contains(&gap),
        "{gap} between field and button"
    );
    bench.click("Keep wording");
    bench.wait_label("In your words.")?;
    let own = branch(&bench).pop().context("no answer")?;
    ensure!(own.id != first.id && own.text == "A blue boat, flat");
    ensure!(bench.has("2 of 2"), "the model's own is beside it");
    bench.click("Continue");
    let whole = answered(&mut bench, MessageState::Done)?;
    ensure!(whole.id == own.id && whole.text.starts_with("A blue boat, flat"));
    ensure!(whole.text.len() > own.text.len(), "{}", whole.text);
    bench.click("Previous answer");
    ensure!(branch(&bench).last().map(|last| last.text.clone()) == Some(first.text));
    Ok(())
}

#[test]
fn several_answers_are_written_at_once_beside_the_first() -> Result<()> {
    let mut bench = open()?;
    say(&mut bench, QUESTION);
    let first = answered(&mut bench, MessageState::Done)?;
    apply(&mut bench, QueueCommand::PauseAll);
    bench.click("Write three more answers at once");
    let waiting = studio(&bench).house.queue.tasks().len();
    ensure!(waiting == 3, "{waiting} jobs");
    apply(&mut bench, QueueCommand::ResumeAll);
    answered(&mut bench, MessageState::Done)?;
    let id = studio(&bench).chat.current().context("none")?;
    bench.wait("all of them", |bench| !studio(bench).chat.is_writing(id))?;
    bench.wait_idle()?;
    bench.wait_label("2 of 4")?;
    let tree = &studio(&bench).chat.shown().context("none")?.tree;
    let all: Vec<&Message> = tree
        .siblings(first.id)
        .iter()
        .filter_map(|&id| tree.get(id))
        .collect();
    ensure!(all.len() == 4);
    for answer in &all {
        ensure!(answer.state == MessageState::Done && !answer.text.trim().is_empty());
    }
    // What was read for one was not read again for the others.
    let cached = |answer: &Message| answer.info.as_ref().map_or(0, |info| info.cached_tokens);
    ensure!(all.iter().skip(1).all(|answer| cached(answer) > 8));
    let seeds: std::collections::HashSet<u64> = all
        .iter()
        .filter_map(|answer| answer.info.as_ref().map(|info| info.seed))
        .collect();
    ensure!(seeds.len() == 4, "each has a seed of its own");
    Ok(())
}
