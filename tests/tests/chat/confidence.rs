//! How sure the model was, and answers that go another way at a token.

use super::*;
use egui_kittest::kittest::NodeT as _;

/// Labels of tokens on the page.
fn tokens(bench: &Bench) -> Vec<String> {
    let is_token = |label: &String| label.starts_with('“') && label.contains("”, ");
    bench.labels().into_iter().filter(is_token).collect()
}

/// Shows how sure the model was, and waits until it is known.
fn sure(bench: &mut Bench) -> Result<()> {
    bench.click("How sure the model was");
    bench.wait("tokens", |bench| !tokens(bench).is_empty())
}

#[test]
fn tokens_tell_their_probability_and_an_answer_forks_at_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let setup = || Setup {
        data: Some(data.clone()),
        ..Setup::default()
    };
    let mut bench = open_with(setup())?;
    say(&mut bench, QUESTION);
    let first = answered(&mut bench, MessageState::Done)?;
    ensure!(tokens(&bench).is_empty() && !bench.has("90% and more"));
    sure(&mut bench)?;
    ensure!(bench.has("90% and more"), "there is a legend");
    let told = tokens(&bench);
    let joined: String = told
        .iter()
        .rev()
        .filter_map(|label| label.strip_prefix('“')?.split("”, ").next())
        .collect();
    ensure!(joined == first.text.replace('\n', "↵"), "{joined:?}");
    ensure!(told.iter().all(|label| label.ends_with('%')), "{told:?}");

    // The third token: its alternatives, and one that was not written.
    let token = told.iter().rev().nth(2).context("no token")?.clone();
    let node = bench.harness.get_all_by_label(&token).next();
    node.context("no token")?.click();
    bench.harness.run_steps(4);
    bench.wait_label("Written: ")?;
    let other = bench
        .labels()
        .into_iter()
        .rev()
        .find(|label| label.starts_with("Continue with “") && !label.contains('\u{fffd}'))
        .context("no alternative")?;
    bench.click(&other);
    bench.wait("a fork", |bench| {
        branch(bench).last().is_some_and(|last| last.id != first.id)
    })?;
    bench.wait("its end", |bench| {
        branch(bench)
            .last()
            .is_some_and(|last| last.state == MessageState::Done)
    })?;
    bench.wait_idle()?;
    let fork = branch(&bench).last().cloned().context("no fork")?;
    let word = other.trim_start_matches("Continue with “");
    let word = word
        .split("”, ")
        .next()
        .context("no word")?
        .replace('↵', "\n");
    let given = fork.info.as_ref().map_or(0, |info| info.given as usize);
    ensure!(given > 0 && fork.text[..given].ends_with(&word), "{fork:?}");
    let common = given - word.len();
    ensure!(fork.text[..common] == first.text[..common]);
    ensure!(fork.text.len() > given, "the model went on");
    ensure!(bench.has("2 of 2"));
    // The old answer is as it was, and the fork tells of every token, also of those that it was given.
    let talk = studio(&bench).chat.shown().context("none")?;
    ensure!(talk.tree.get(first.id) == Some(&first));
    let told = tokens(&bench);
    ensure!(told.iter().all(|label| label.ends_with('%')), "{told:?}");
    bench.close();

    // After a restart all of it is there.
    let mut bench = open_with(setup())?;
    bench.wait("tokens", |bench| !tokens(bench).is_empty())?;
    ensure!(tokens(&bench) == told);
    bench.click("Previous answer");
    bench.wait("the first answer's tokens", |bench| {
        let labels = tokens(bench);
        labels.contains(&token)
    })?;
    Ok(())
}

#[test]
fn the_keys_lead_from_token_to_token() -> Result<()> {
    let mut bench = open()?;
    say(&mut bench, QUESTION);
    answered(&mut bench, MessageState::Done)?;
    sure(&mut bench)?;
    let focused = |bench: &Bench| {
        let all = bench.harness.root().children_recursive();
        let node = all
            .into_iter()
            .find(|node| node.accesskit_node().is_focused());
        node.and_then(|node| node.accesskit_node().label())
    };
    let told = tokens(&bench);
    let first = told.last().context("no token")?;
    bench.get(first).focus();
    bench.harness.run_steps(3);
    ensure!(
        focused(&bench).as_ref() == Some(first),
        "{:?}",
        focused(&bench)
    );
    bench.press(Modifiers::NONE, Key::ArrowRight);
    bench.press(Modifiers::NONE, Key::ArrowRight);
    let third = told.iter().rev().nth(2);
    ensure!(focused(&bench).as_ref() == third, "{:?}", focused(&bench));
    bench.press(Modifiers::NONE, Key::ArrowLeft);
    bench.press(Modifiers::NONE, Key::Enter);
    bench.wait_label("Written: ")?;
    bench.press(Modifiers::NONE, Key::Escape);
    ensure!(!bench.has("Written: "));
    Ok(())
}

#[test]
fn answers_of_earlier_programs_say_that_nothing_was_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let done = MessageState::Done;
    keep(
        &data,
        "Boats",
        &[
            (Role::User, "a harbour", done),
            (Role::Assistant, "with gulls", done),
        ],
    )?;
    let mut bench = open_with(Setup {
        data: Some(data),
        ..Setup::default()
    })?;
    bench.click("Boats");
    bench.wait_label("with gulls")?;
    bench.click("How sure the model was");
    bench.wait_label("was not kept")?;
    ensure!(bench.has("with gulls"));
    Ok(())
}
