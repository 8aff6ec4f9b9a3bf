//! Kinds of pictures that a ControlNet for several of them (ControlNet Union) is told.

use diptych_inference::engine::ControlKind;

use super::control::{ControlChoice, Seen};
use crate::studio::models::Model;

/// What a model's files tell of how many kinds it knows.
const DETAIL: &str = "picture kinds";

/// The kinds that a net is told apart; none of one that is made for a single kind, or is not known.
pub fn known(net: Option<&Model>) -> &'static [ControlKind] {
    let count = net.and_then(|net| net.detail(DETAIL)?.parse().ok());
    let count: usize = count.unwrap_or(0);
    const ALL: &[ControlKind] = &ControlKind::ALL;
    ALL.get(..count.min(ALL.len())).unwrap_or(ALL)
}

/// A kind in a person's words, and what such pictures are.
pub fn words(kind: ControlKind) -> (&'static str, &'static str) {
    match kind {
        ControlKind::Pose => ("Pose", "A person as a drawing of joints (OpenPose)"),
        ControlKind::Depth => ("Depth", "The nearer, the brighter"),
        ControlKind::Soft => ("Soft edges", "Scribbles and soft outlines (HED, PidiNet)"),
        ControlKind::Lines => ("Lines", "Line art and hard edges (Canny, MLSD)"),
        ControlKind::Normals => ("Surface directions", "A normal map"),
        ControlKind::Segments => ("Segments", "A colour for each kind of thing"),
        ControlKind::Tile => ("Details", "The picture itself, small or blurred (tile)"),
        ControlKind::Repaint => ("Repaint", "The picture, black where it is to be painted"),
    }
}

/// The kind that is told: the one that was chosen, or for edges that are found here that of lines.
pub fn told(choice: &ControlChoice) -> Option<ControlKind> {
    let found = (choice.seen == Seen::Edges).then_some(ControlKind::Lines);
    choice.kind.or(found)
}

/// What is missing before a net can be used; nothing for one of a single kind.
pub fn trouble(choice: &ControlChoice, net: Option<&Model>) -> Option<String> {
    let known = known(net);
    if known.is_empty() {
        return None;
    }
    match told(choice) {
        None => Some("say what kind of picture it sees".to_owned()),
        Some(kind) if known.contains(&kind) => None,
        Some(kind) => Some(format!(
            "it does not know pictures of the kind “{}”; choose another kind",
            words(kind).0
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_words_of_its_own() {
        let mut names: Vec<&str> = ControlKind::ALL.map(|kind| words(kind).0).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ControlKind::ALL.len());
        assert!(known(None).is_empty());
    }

    #[test]
    fn edges_are_lines_unless_something_else_is_said() {
        let mut choice = ControlChoice::default();
        assert_eq!((told(&choice), trouble(&choice, None)), (None, None));
        choice.seen = Seen::Edges;
        assert_eq!(told(&choice), Some(ControlKind::Lines));
        choice.kind = Some(ControlKind::Soft);
        assert_eq!(told(&choice), Some(ControlKind::Soft));
    }
}
