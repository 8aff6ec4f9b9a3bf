//! Real templates against `transformers`, and templates that attack.

use std::collections::HashMap;
use std::time::Instant;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Fixture {
    now: i64,
    templates: HashMap<String, String>,
    conversations: Vec<Vec<ChatMessage>>,
    tools: Vec<serde_json::Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    conversation: usize,
    /// Whether the tools are given.
    #[serde(default)]
    tools: bool,
    add_generation_prompt: bool,
    text: Option<String>,
    refused: Option<String>,
}

fn options(add_generation_prompt: bool) -> RenderOptions {
    RenderOptions {
        add_generation_prompt,
        bos: "<s>".to_owned(),
        eos: "</s>".to_owned(),
        now: 1_772_719_629,
        tools: Vec::new(),
    }
}

#[test]
fn real_templates_equal_transformers() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/reference/text/templates.json"
    );
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    let (mut rendered, mut refused) = (0, 0);
    for case in &fixture.cases {
        let options = RenderOptions {
            now: fixture.now,
            tools: match case.tools {
                true => fixture.tools.clone(),
                false => Vec::new(),
            },
            ..options(case.add_generation_prompt)
        };
        let messages = &fixture.conversations[case.conversation];
        let got = render_template(&fixture.templates[&case.template], messages, &options);
        let good = match (&got, &case.text, &case.refused) {
            (Ok(got), Some(want), _) => {
                rendered += 1;
                got == want
            }
            (Err(TextError::TemplateRefused { message }), _, Some(want)) => {
                refused += 1;
                message == want
            }
            _ => false,
        };
        if !good {
            wrong.push(format!(
                "{} {}: {got:?}\n  want {:?} {:?}",
                case.template, case.conversation, case.text, case.refused
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        rendered > 80 && refused > 8,
        "{rendered} rendered, {refused} refused"
    );
}

#[test]
fn missing_and_broken_templates_fall_back_with_a_warning() {
    let messages = [ChatMessage::new("user", "Hi {{ there }}")];
    let want = "<|im_start|>user\nHi {{ there }}<|im_end|>\n<|im_start|>assistant\n";
    let none = render(None, &messages, &options(true)).unwrap();
    assert_eq!(none.text, want);
    assert!(none.warning.unwrap().contains("no chat template"));
    for broken in [
        "{% for",
        "{{ messages | no_such_filter }}",
        "{{ 1 + 'a' }}",
        "{% include 'x' %}",
        "{{ 1 // 0 }}",
        "{{ messages[0].x.y }}",
    ] {
        let out = render(Some(broken), &messages, &options(true)).unwrap();
        assert_eq!(out.text, want, "{broken}");
        assert!(out.warning.unwrap().contains("template failed"), "{broken}");
    }
    let refuse = "{{ raise_exception('no ' + messages[0].role) }}";
    assert_eq!(
        render(Some(refuse), &messages, &options(true)),
        Err(TextError::TemplateRefused {
            message: "no user".to_owned()
        })
    );
}

#[test]
fn attacks_end_soon_and_small() {
    let doubling = |step: &str| {
        format!(
            "{{% set ns = namespace(s='xxxxxxxx', l=[1], m={{}}) %}}{{% for i in range(99999) %}}{step}{{% endfor %}}{{{{ ns.s }}}}"
        )
    };
    let deep_sum = format!("{{{{ {} }}}}", vec!["1"; 100_000].join("+"));
    let deep_filter = format!("{{{{ 1{} }}}}", "|string".repeat(100_000));
    let elifs = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(40_000));
    let parens = format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000));
    let blocks = "{% if 1 %}".repeat(20_000);
    let constants = format!("{{{{ {} }}}}", vec!["'x'*99999999"; 300].join("~"));
    let raw = format!(
        "{{% for i in range(99999) %}}{{% set x %}}{}{{% endset %}}{{% endfor %}}",
        "y".repeat(100_000)
    );
    let attacks = [
        doubling("{% set ns.s = ns.s ~ ns.s %}"),
        doubling("{% set ns.s = ns.s + ns.s %}"),
        doubling("{% set ns.s = ns.s * 8 %}"),
        doubling("{% set ns.s = [ns.s, ns.s] | join %}"),
        doubling("{% set ns.s = ns.s.replace('x', 'xx') %}"),
        doubling("{% set ns.s = ns.s | replace('', ns.s) %}"),
        doubling("{% set ns.s = ns.s.join([1,2,3]) %}"),
        doubling("{% set ns.s = '{0}{0}'.format(ns.s) %}"),
        doubling("{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}"),
        doubling("{% set ns.s = ns.s | indent(999999999, true) %}"),
        doubling("{% set ns.l = ns.l + ns.l %}"),
        doubling("{% set ns.l = [ns.l, ns.l] %}"),
        doubling("{% set ns.l = [ns.l] %}"),
        doubling("{% set ns.l = {'a': ns.l, 'b': ns.l} %}"),
        doubling("{% set ns.l = ns.l * 9 %}"),
        doubling("{% set ns.m = namespace(a=ns.m, b=ns.m) %}"),
        doubling("{% set ns.m = ns %}{{ ns }}{{ ns | tojson }}"),
        doubling("{% set ns.m = dict(a=ns.m) %}"),
        doubling("{% set ns.l = (ns.l, ns.l) %}{% if ns.l == ns.l %}{% endif %}"),
        "{{ 'x' * 99999999999 }}".to_owned(),
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
        "{% for a in range(99999) %}{% for b in range(9999) %}{{ 'some text to write' }}{% endfor %}{% endfor %}".to_owned(),
        "{{ range(999999999) | list }}".to_owned(),
        "{% set s = 'ab' * 1000000 %}{% for i in range(99999) %}{% if s in s %}{% endif %}{% endfor %}".to_owned(),
        "{% set s = 'ab' * 1000000 %}{% for i in range(99999) %}{% set t = s.upper() %}{% endfor %}".to_owned(),
        "{% set s = 'ab' * 1000000 %}{% for i in range(99999) %}{% set t = s[1:] %}{% set u = s[::-1] %}{% endfor %}".to_owned(),
        "{{ '{:>999999999}'.format(1) }}".to_owned(),
        "{{ '%999999999d' | format(1) }}".to_owned(),
        // The engine (minijinja 3.0.5) fails at this by itself.
        "{{ ''[::-1] }}".to_owned(),
        "{% macro m(x) %}{{ m(x) }}{{ m(x) }}{% endmacro %}{{ m(1) }}".to_owned(),
        "{% for x in messages recursive %}{{ loop(messages) }}{{ loop(messages) }}{% endfor %}".to_owned(),
        "{% filter upper %}{% for a in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}{% endfilter %}".to_owned(),
        constants,
        raw,
        deep_sum,
        deep_filter,
        elifs,
        parens,
        blocks,
    ];
    let messages = [
        ChatMessage::new("user", "x"),
        ChatMessage::new("assistant", "y"),
    ];
    for attack in &attacks {
        let start = Instant::now();
        let out = render_template(attack, &messages, &options(true));
        let name: String = attack.chars().take(160).collect();
        assert!(
            matches!(out, Err(TextError::Template { .. })),
            "{name}: {:?}",
            out.map(|t| t.len())
        );
        let spent = start.elapsed();
        println!("{spent:.0?} {name}: {}", out.unwrap_err());
        // Each takes well under a second when alone; unbounded they would never end.
        assert!(spent.as_secs() < 20, "{spent:?} {name}");
    }
}

#[test]
fn long_conversations_fit_the_limits() {
    let messages: Vec<ChatMessage> = (0..2000)
        .map(|n| {
            ChatMessage::new(
                if n % 2 == 0 { "user" } else { "assistant" },
                "lorem ipsum ".repeat(100),
            )
        })
        .collect();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/reference/text/templates.json"
    );
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (name, template) in &fixture.templates {
        let start = Instant::now();
        let text = render_template(template, &messages, &options(true))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {} bytes in {:.0?}", text.len(), start.elapsed());
        assert!(
            name == "odds" || text.len() > 2_300_000,
            "{name}: {}",
            text.len()
        );
    }
}

#[test]
fn dates_are_those_of_the_calendar() {
    let at = |format: &str, now: i64| python::strftime(format, now);
    assert_eq!(at("%d %b %Y", 1_772_719_629), "05 Mar 2026");
    assert_eq!(
        at("%A, %B %-d, %Y %H:%M:%S %I%p %a %y %j %%", 0),
        "Thursday, January 1, 1970 00:00:00 12AM Thu 70 %j %"
    );
    assert_eq!(at("%F %T", 951_827_696), "2000-02-29 12:34:56");
    assert_eq!(at("%F", -1), "1969-12-31");
    assert_eq!(at("%F%", i64::MAX), "9999-12-31%");
}

#[test]
fn generation_marks_are_taken_out_as_blocks() {
    let messages = [ChatMessage::new("user", "x")];
    let template = "a\n{%- generation -%}\n b {%- endgeneration %} c {{ '{% generation %}' }} {% raw %}{% x %}{% endraw %}";
    // Even inside a string: nobody writes that.
    let out = render_template(template, &messages, &options(true)).unwrap();
    assert_eq!(out, "ab c {% if true %} {% x %}");
    // Marks that share a character are none, and no reason to panic.
    for broken in ["{%}", "{%}}", "a {%} b %}", "{%"] {
        let fault = render_template(broken, &messages, &options(true)).unwrap_err();
        assert!(
            matches!(&fault, TextError::Template { .. }),
            "{broken}: {fault}"
        );
        assert!(!fault.to_string().contains("Diptych itself"), "{fault}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_template_ends(parts in prop::collection::vec(prop_oneof![
        Just("{{ "), Just(" }}"), Just("{% "), Just(" %}"), Just("if x"), Just("endif"), Just("for m in messages"), Just("endfor"), Just("set x = "),
        Just("m.content"), Just("messages"), Just("[0]"), Just("[1:]"), Just("+"), Just("~"), Just("*"), Just("'a'"), Just("9"), Just("|join"), Just("|tojson"),
        Just(".upper()"), Just(".split('a')"), Just("namespace(a=1)"), Just("("), Just(")"), Just("x"), Just("macro f(x)"), Just("endmacro"), Just("\n"),
    ], 0..30)) {
        let messages = [ChatMessage::new("user", "hello")];
        let _ = render_template(&parts.concat(), &messages, &options(true));
    }
}
