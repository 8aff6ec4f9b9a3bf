use super::*;

fn pieces(source: &str) -> Vec<Piece> {
    parse(source, 0)
        .into_iter()
        .flat_map(|block| block.pieces)
        .collect()
}

fn text(piece: &Piece) -> &str {
    match &piece.kind {
        Kind::Text(inlines) | Kind::Heading(_, inlines) => &inlines.text,
        Kind::Code { text, .. } => text,
        _ => "",
    }
}

#[test]
fn paragraphs_headings_and_looks() {
    let found = pieces("# One\n\nA **b *c*** `d` ~~e~~ [f](https://g)\nnext  \nline");
    assert_eq!(found.len(), 2);
    assert!(matches!(found[0].kind, Kind::Heading(1, _)));
    let Kind::Text(inlines) = &found[1].kind else {
        panic!("{found:?}")
    };
    assert_eq!(inlines.text, "A b c d e f\nnext\nline");
    assert_eq!(inlines.links, ["https://g"]);
    let look = |word: &str| {
        let at = inlines.text.find(word).unwrap();
        let span = inlines.spans.iter().find(|s| s.range.contains(&at));
        span.unwrap().clone()
    };
    assert!(look("b").emphasis.strong && !look("b").emphasis.italic);
    assert!(look("c").emphasis.strong && look("c").emphasis.italic);
    assert!(look("d").emphasis.code && look("e").emphasis.strike);
    assert_eq!(look("f").link, Some(0));
    assert_eq!(look("next").link, None);
}

#[test]
fn lists_nest_and_carry_markers() {
    let found = pieces("1. a\n   - b\n   - [x] c\n2. d\n\n   e\n\n> f\n> - g");
    let shown: Vec<_> = found
        .iter()
        .map(|p| (text(p), p.levels.len(), p.marker.clone()))
        .collect();
    let number = |n: &str| Some(Marker::Number(n.into()));
    assert_eq!(
        shown,
        [
            ("a", 1, number("1.")),
            ("b", 2, Some(Marker::Bullet)),
            ("c", 2, Some(Marker::Task(true))),
            ("d", 1, number("2.")),
            ("e", 1, None),
            ("f", 1, None),
            ("g", 2, Some(Marker::Bullet)),
        ]
    );
    assert_eq!(found[5].levels, [Level::Quote]);
    assert!(found[1].tight && !found[4].tight);
}

#[test]
fn an_empty_item_shows_its_marker() {
    let found = pieces("- \n- a\n-");
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|p| p.marker == Some(Marker::Bullet)));
}

#[test]
fn code_tables_rules_and_html() {
    let found = pieces(
        "```rust,ignore\nfn a() {}\n\n```\n\n---\n\n|a|b|\n|:-:|-:|\n|1|2|\n|3|\n\n<b onclick='x'>hi</b>\n",
    );
    assert_eq!(
        found[0].kind,
        Kind::Code {
            language: "rust".into(),
            text: "fn a() {}\n".into()
        }
    );
    assert_eq!(found[1].kind, Kind::Rule);
    let Kind::Table { columns, rows } = &found[2].kind else {
        panic!("{found:?}")
    };
    assert_eq!(columns, &[Column::Center, Column::Right]);
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.len() == 2));
    assert_eq!(text(&found[3]), "<b onclick='x'>hi</b>");
}

#[test]
fn pictures_become_links() {
    let found = pieces("![a cat](https://x/cat.png)");
    let Kind::Text(inlines) = &found[0].kind else {
        panic!("{found:?}")
    };
    assert_eq!(inlines.text, "Picture: a cat");
    assert_eq!(inlines.links, ["https://x/cat.png"]);
}

#[test]
fn hostile_input_stays_small() {
    let deep = format!("{}a", "> ".repeat(5000));
    assert!(pieces(&deep).iter().all(|p| p.levels.len() <= DEEPEST));
    let nested: String = (0..400)
        .map(|n| format!("{}- x\n", "  ".repeat(n)))
        .collect();
    assert!(pieces(&nested).iter().all(|p| p.levels.len() <= DEEPEST));
    let wide = format!("{}|\n{}|\n", "|a".repeat(2000), "|-".repeat(2000));
    let tall = format!("|a|\n|-|\n{}", "|b|\n".repeat(5000));
    for (source, rows) in [(&wide, 1), (&tall, MOST_ROWS)] {
        let found = pieces(source);
        let Kind::Table { columns, rows: got } = &found[0].kind else {
            panic!()
        };
        assert!(columns.len() <= MOST_COLUMNS && got.len() == rows);
    }
    // Nothing of the tall table is lost.
    let lost: String = pieces(&tall).iter().skip(1).map(text).collect();
    assert_eq!(lost.matches('b').count(), 5001 - MOST_ROWS);
    for source in ["[".repeat(20_000), "*a_".repeat(10_000), "`".repeat(20_000)] {
        pieces(&source);
    }
}

#[test]
fn text_knows_where_it_stands_in_the_source() {
    let source = "# One\n\nA **red** `fox` and\na [den](https://x) &amp; more";
    let found = pieces(source);
    let Kind::Text(inlines) = &found[1].kind else {
        panic!("{found:?}")
    };
    for word in ["A ", "red", "fox", " and", "den", " more"] {
        let at = source.find(word).unwrap();
        let range = inlines.of_source(&(at..at + word.len())).unwrap();
        assert_eq!(&inlines.text[range], word);
    }
    // Marks alone are nowhere: the next letter stands for them.
    let at = source.find("**").unwrap();
    let range = inlines.of_source(&(at..at + 2)).unwrap();
    assert_eq!(&inlines.text[range], "r");
    assert_eq!(inlines.of_source(&(source.len()..source.len() + 1)), None);
}
