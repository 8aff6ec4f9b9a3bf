use proptest::prelude::*;

use super::*;

fn conversation() -> ConversationId {
    ConversationId(1)
}

fn texts(tree: &Tree) -> Vec<&str> {
    tree.branch().iter().map(|m| m.text.as_str()).collect()
}

fn talk() -> (Tree, MessageId, MessageId) {
    let mut tree = Tree::default();
    let question = tree.say(conversation(), "q");
    let answer = tree.answer(conversation(), question);
    tree.get_mut(answer).unwrap().text = "a".into();
    (tree, question, answer)
}

#[test]
fn edits_keep_the_old_branch() {
    let (mut tree, question, _) = talk();
    let other = tree.edit(question, "q2").unwrap();
    assert_eq!(texts(&tree), ["q2"]);
    assert_eq!(tree.place(other), Place { index: 1, count: 2 });
    assert!(tree.step(other, Step::Left));
    assert_eq!(texts(&tree), ["q", "a"]);
    assert!(!tree.step(question, Step::Left));
    assert!(tree.step(question, Step::Right));
    assert_eq!(texts(&tree), ["q2"]);
}

#[test]
fn moves_lead_to_what_was_shown_last_below() {
    let (mut tree, question, answer) = talk();
    let follow = tree.say(conversation(), "more");
    let second = tree.regenerate(answer).unwrap();
    tree.get_mut(second).unwrap().text = "b".into();
    assert_eq!(texts(&tree), ["q", "b"]);
    assert!(tree.step(second, Step::Left));
    assert_eq!(texts(&tree), ["q", "a", "more"]);
    assert_eq!(tree.leaf(), Some(follow));
    assert_eq!(tree.siblings(answer), [answer, second]);
    assert_eq!(tree.get(second).unwrap().parent, Some(question));
    assert!(tree.edit(answer, "x").is_none() && tree.regenerate(question).is_none());
}

#[test]
fn a_deleted_branch_gives_way_to_a_sibling_and_comes_back() {
    let (mut tree, question, answer) = talk();
    tree.say(conversation(), "more");
    let second = tree.regenerate(answer).unwrap();
    tree.step(second, Step::Left);
    let leaf = tree.leaf();
    let removed = tree.delete(answer);
    assert_eq!(removed.len(), 2);
    assert_eq!(tree.leaf(), Some(second));
    tree.delete(second);
    assert_eq!(tree.leaf(), Some(question));
    tree.restore(removed, leaf);
    assert_eq!(texts(&tree), ["q", "a", "more"]);
    tree.delete(question);
    assert!(tree.is_empty() && tree.branch().is_empty());
}

#[test]
fn the_prompt_alternates() {
    let (mut tree, _, answer) = talk();
    let failed = tree.say(conversation(), "one");
    let empty = tree.answer(conversation(), failed);
    tree.say(conversation(), "two");
    let last = tree.answer(conversation(), tree.leaf().unwrap());
    let turns: Vec<(String, String)> = tree
        .prompt(" be kind ", last)
        .into_iter()
        .map(|turn| (turn.role, turn.content))
        .collect();
    let want = [
        ("system", "be kind"),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "one\n\ntwo"),
    ];
    assert_eq!(turns, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(tree.prompt("", answer).len(), 1);
    assert!(tree.get(empty).unwrap().text.is_empty());
}

#[test]
fn attached_texts_stand_before_the_words_between_fences_of_their_own() {
    let (mut tree, question, answer) = talk();
    let attach = |name: &str, text: &str| Attachment {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    tree.get_mut(question).unwrap().attachments =
        vec![attach("a.md", "x\n```rust\ny\n```\n"), attach("list", "z")];
    let said = &tree.prompt("", answer)[0].content;
    assert_eq!(
        said,
        "File a.md:\n````md\nx\n```rust\ny\n```\n````\n\nFile list:\n```\nz\n```\n\nq"
    );
    tree.get_mut(question).unwrap().text.clear();
    assert!(tree.prompt("", answer)[0].content.ends_with("z\n```"));
}

#[test]
fn titles_are_short_and_end_with_a_word() {
    assert_eq!(title("  # A *fox*\nmore"), "A *fox*");
    assert_eq!(title(" \n\n"), UNTITLED);
    let long = title("Please write a very long and detailed description of a forest at night");
    assert_eq!(long, "Please write a very long and detailed…");
    assert_eq!(title(&"ä".repeat(90)).chars().count(), LONGEST_TITLE + 1);
}

/// What may be done to a tree; numbers choose messages.
#[derive(Clone, Debug)]
enum Act {
    Say,
    Answer,
    Edit(usize),
    Regenerate(usize),
    Left(usize),
    Right(usize),
    Delete(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Say),
        3 => Just(Act::Answer),
        1 => (0..99_usize).prop_map(Act::Edit),
        1 => (0..99_usize).prop_map(Act::Regenerate),
        2 => (0..99_usize).prop_map(Act::Left),
        2 => (0..99_usize).prop_map(Act::Right),
        1 => (0..99_usize).prop_map(Act::Delete),
    ]
}

fn perform(tree: &mut Tree, act: &Act) {
    let pick = |tree: &Tree, at: usize| {
        let branch = tree.branch();
        branch.get(at % branch.len().max(1)).map(|m| m.id)
    };
    match act {
        Act::Say => {
            tree.say(conversation(), "say");
        }
        Act::Answer => {
            if let Some(leaf) = tree.leaf() {
                tree.answer(conversation(), leaf);
            }
        }
        Act::Edit(at) => {
            pick(tree, *at).and_then(|id| tree.edit(id, "edit"));
        }
        Act::Regenerate(at) => {
            pick(tree, *at).and_then(|id| tree.regenerate(id));
        }
        Act::Left(at) => {
            pick(tree, *at).map(|id| tree.step(id, Step::Left));
        }
        Act::Right(at) => {
            pick(tree, *at).map(|id| tree.step(id, Step::Right));
        }
        Act::Delete(at) => {
            pick(tree, *at).map(|id| tree.delete(id));
        }
    }
}

fn check(tree: &Tree) -> Result<(), TestCaseError> {
    let branch = tree.branch();
    prop_assert_eq!(branch.is_empty(), tree.is_empty());
    // The branch is a path from a first message, and what is shown last was shown.
    let mut parent = None;
    for message in &branch {
        prop_assert_eq!(message.parent, parent);
        parent = Some(message.id);
        let place = tree.place(message.id);
        prop_assert!(place.index < place.count);
        prop_assert_eq!(tree.siblings(message.id)[place.index], message.id);
    }
    prop_assert_eq!(parent, tree.leaf());
    // Every message is the child of its parent, once.
    let mut children: Vec<MessageId> = tree.children.values().flatten().copied().collect();
    children.sort_unstable();
    let all: Vec<MessageId> = tree.messages.keys().copied().collect();
    prop_assert_eq!(children, all);
    let branch = tree.branch();
    prop_assert_eq!(
        tree.last().map(|last| last.id),
        branch.last().map(|last| last.id)
    );
    let forks = branch.iter().rev().map(|message| message.id);
    let last_fork = forks.clone().find(|&id| tree.place(id).count > 1);
    prop_assert_eq!(tree.last_fork(), last_fork);
    Ok(())
}

proptest! {
    #[test]
    fn whatever_is_done_the_tree_stays_one(acts in prop::collection::vec(act(), 0..60)) {
        let mut tree = Tree::default();
        for act in &acts {
            let before: Vec<MessageId> = tree.messages.keys().copied().collect();
            perform(&mut tree, act);
            check(&tree)?;
            if !matches!(act, Act::Delete(_)) {
                prop_assert!(before.iter().all(|id| tree.get(*id).is_some()));
            }
        }
        // What the library gives back shows the same branch.
        let messages: Vec<Message> = tree.messages.values().cloned().collect();
        let again = Tree::new(messages, tree.leaf());
        check(&again)?;
        let end = again.branch_to(tree.leaf());
        prop_assert_eq!(end, tree.branch());
    }

    #[test]
    fn there_and_back_shows_the_same(acts in prop::collection::vec(act(), 1..40), at in 0..99_usize) {
        let mut tree = Tree::default();
        for act in &acts {
            perform(&mut tree, act);
        }
        let leaf = tree.leaf();
        let branch: Vec<MessageId> = tree.branch().iter().map(|m| m.id).collect();
        if let Some(&id) = branch.get(at % branch.len().max(1)) {
            let place = tree.place(id);
            let siblings = tree.siblings(id).to_vec();
            if tree.step(id, Step::Right) {
                prop_assert!(tree.step(siblings[place.index + 1], Step::Left));
                prop_assert_eq!(tree.leaf(), leaf);
            }
        }
    }

    #[test]
    fn deleting_can_be_undone(acts in prop::collection::vec(act(), 1..40), at in 0..99_usize) {
        let mut tree = Tree::default();
        for act in &acts {
            perform(&mut tree, act);
        }
        let (before, leaf) = (tree.messages.clone(), tree.leaf());
        let branch: Vec<MessageId> = tree.branch().iter().map(|m| m.id).collect();
        if let Some(&id) = branch.get(at % branch.len().max(1)) {
            let removed = tree.delete(id);
            check(&tree)?;
            tree.restore(removed, leaf);
            check(&tree)?;
            prop_assert_eq!(&tree.messages, &before);
            prop_assert_eq!(tree.leaf(), leaf);
        }
    }

    #[test]
    fn damaged_records_stay_within_reach(parents in prop::collection::vec(prop::option::of(0..14_i64), 0..12)) {
        let messages: Vec<Message> = parents.iter().enumerate().map(|(id, parent)| Message {
            id: MessageId(id as i64),
            conversation: conversation(),
            parent: parent.map(MessageId),
            role: Role::User,
            text: String::new(),
            attachments: Vec::new(),
            state: MessageState::Done,
            info: None,
            created: 0,
        }).collect();
        let count = messages.len();
        let tree = Tree::new(messages, Some(MessageId(3)));
        prop_assert_eq!(tree.len(), count);
        check(&tree)?;
        for id in 0..count {
            prop_assert!(!tree.branch_to(Some(MessageId(id as i64))).is_empty());
        }
    }
}
