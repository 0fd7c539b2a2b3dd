//! Whatever is written, reading ends with a configuration or with problems that point into the text.

use proptest::prelude::*;

use super::*;

/// The problems point to existing lines, in order.
fn check(text: &str) -> Result<(), TestCaseError> {
    let Err(Refused(problems)) = parse(&[("f.toml", text)], &Fake) else {
        return Ok(());
    };
    prop_assert!(!problems.is_empty());
    let lines: Vec<_> = problems.iter().map(|problem| problem.line.unwrap_or(0)).collect();
    prop_assert!(lines.is_sorted());
    prop_assert!(lines.iter().all(|line| *line <= text.split('\n').count()));
    for problem in &problems {
        prop_assert!(problem.what.ends_with('.'), "{problem}");
        prop_assert!(!problem.remedy.is_empty() && !problem.to_string().contains('\n'), "{problem}");
    }
    Ok(())
}

/// A key of the schema, or a table header, or a value, in no order.
fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "[gateway]\n",
        "[[bus]]\n",
        "[[bus.slave]]\n",
        "[[bus.slave.point]]\n",
        "[golioth]\n",
        "[golioth.rest]\n",
        "[[mqtt]]\n",
        "[http]\n",
        "[store]\n",
        "[[firmware.component]]\n",
        "[modem]\n",
        "serial = ",
        "name = ",
        "unit = ",
        "port = ",
        "register = ",
        "type = ",
        "table = ",
        "stream = ",
        "alias = ",
        "route = ",
        "sentinel = ",
        "scale = ",
        "min = ",
        "max = ",
        "psk = ",
        "psk_file = ",
        "broker = ",
        "topic = ",
        "listen = ",
        "suites = ",
        "url = ",
        "commit_window = ",
        "queue_max = ",
        "ballast = ",
        "poll = ",
        "version = ",
        "\"gw\"\n",
        "\"\"\n",
        "\"/s/good\"\n",
        "0\n",
        "-1\n",
        "65535\n",
        "1e400\n",
        "nan\n",
        "inf\n",
        "-9223372036854775808\n",
        "999999999999999999999999999999999999999\n",
        "true\n",
        "[]\n",
        "[1, \"a\", {}]\n",
        "{ a = 1 }\n",
        "\"holding\"\n",
        "\"uint64\"\n",
        "\"18446744073709551615d\"\n",
        "\"18446744073709551615TiB\"\n",
        "\"mqtt://[::1]:1\"\n",
        "\"{gateway}{\"\n",
        "1979-05-27\n",
        "\"\"\"\n",
        "'",
        "#",
        "\u{0}",
        "\u{feff}",
    ])
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_at_lines_it_has(text in "\\PC{0,200}") {
        check(&text)?;
    }

    #[test]
    fn any_heap_of_schema_words_is_taken_or_refused_at_lines_it_has(tokens in prop::collection::vec(token(), 0..40)) {
        check(&tokens.concat())?;
    }

    #[test]
    fn an_example_with_something_else_in_place_of_a_value_is_taken_or_refused(
        line in 0usize..160,
        value in prop_oneof![token().prop_map(str::to_owned), "\\PC{0,20}"],
    ) {
        let mut text = String::new();
        for (at, written) in example().lines().enumerate() {
            match written.split_once(" = ") {
                Some((key, _)) if at == line => text.push_str(&format!("{key} = {}", value.trim_end())),
                _ => text.push_str(written),
            }
            text.push('\n');
        }
        check(&text)?;
    }

    #[test]
    fn the_same_text_gives_the_same_answer(tokens in prop::collection::vec(token(), 0..40)) {
        let text = tokens.concat();
        prop_assert_eq!(parse(&[("f.toml", &text)], &Fake), parse(&[("f.toml", &text)], &Fake));
    }
}
