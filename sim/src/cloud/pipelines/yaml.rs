//! As much of YAML 1.2 as pipelines are written in: maps and lists by indentation, quoted and plain scalars, literal blocks, flow
//! lists and maps on one line, comments. No anchors, tags, or further documents.

use serde_json::{Map, Value};

/// Deepest nesting.
const MOST_DEPTH: usize = 16;

/// Reads one document. What is wrong is said with its line, counted from 1.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let lines: Vec<Line<'_>> = text.lines().enumerate().filter_map(Line::of).collect();
    if let Some(tab) = lines.iter().find(|line| line.tabbed) {
        return Err(format!("line {}: indent with spaces, not with tabs", tab.number));
    }
    let mut reader = Reader { lines: &lines, raw: text.lines().collect(), at: 0 };
    let value = reader.block(0, 0)?;
    match reader.peek() {
        None => Ok(value),
        Some(line) => Err(format!("line {}: this does not belong to what is above it", line.number)),
    }
}

/// A line that says something.
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
    tabbed: bool,
}

impl<'a> Line<'a> {
    fn of((place, raw): (usize, &'a str)) -> Option<Self> {
        let text = without_comment(raw).trim_end();
        let indent = text.len() - text.trim_start_matches(' ').len();
        let text = text.get(indent..)?;
        let says = !text.trim().is_empty() && text != "---";
        says.then(|| Self { number: place + 1, indent, text, tabbed: text.starts_with('\t') })
    }
}

/// Cuts a comment off: a `#` at the beginning or after a space, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, letter) in line.char_indices() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if matches!(letter, '"' | '\'') && matches!(before, ' ' | '[' | '{' | ',') => {
                quote = Some(letter);
            }
            None if letter == '#' && before == ' ' => return line.get(..at).unwrap_or(line),
            None => {}
        }
        before = letter;
    }
    line
}

struct Reader<'a> {
    lines: &'a [Line<'a>],
    raw: Vec<&'a str>,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a Line<'a>> {
        self.lines.get(self.at)
    }

    /// What stands at `indent` or deeper; null when nothing does.
    fn block(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let Some(first) = self.peek().filter(|line| line.indent >= indent) else { return Ok(Value::Null) };
        if depth > MOST_DEPTH {
            return Err(format!("line {}: nested too deep", first.number));
        }
        if is_item(first.text) {
            self.list(first.indent, depth)
        } else if split_key(first.text).is_some() {
            self.map(first.indent, None, depth)
        } else {
            self.at += 1;
            scalar(first.text, first.number)
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent && is_item(line.text)) {
            let rest = line.text.get(1..).unwrap_or_default();
            let inner = rest.trim_start();
            self.at += 1;
            if inner.is_empty() {
                items.push(self.block(indent + 1, depth + 1)?);
            } else if split_key(inner).is_some() {
                let column = indent + 1 + (rest.len() - inner.len());
                items.push(self.map(column, Some((line.number, inner)), depth + 1)?);
            } else {
                items.push(scalar(inner, line.number)?);
            }
        }
        Ok(Value::Array(items))
    }

    /// A map whose keys stand at `indent`; its first entry may have begun behind a dash.
    fn map(
        &mut self,
        indent: usize,
        mut first: Option<(usize, &'a str)>,
        depth: usize,
    ) -> Result<Value, String> {
        let mut entries = Map::new();
        loop {
            let (number, text) = match first.take() {
                Some(first) => first,
                None => {
                    let Some(line) = self.peek().filter(|line| line.indent == indent) else { break };
                    if is_item(line.text) {
                        break;
                    }
                    self.at += 1;
                    (line.number, line.text)
                }
            };
            let (key, rest) =
                split_key(text).ok_or_else(|| format!("line {number}: a key and a colon belong here"))?;
            let value = match rest {
                "" => {
                    // A list may stand at the key's own column.
                    let same = self.peek().is_some_and(|next| next.indent == indent && is_item(next.text));
                    self.block(if same { indent } else { indent + 1 }, depth + 1)?
                }
                "|" | "|-" | ">" | ">-" => Value::String(self.literal(number, indent, rest)),
                text => scalar(text, number)?,
            };
            if entries.insert(unquoted(key).to_owned(), value).is_some() {
                return Err(format!("line {number}: {key} is there twice"));
            }
        }
        Ok(Value::Object(entries))
    }

    /// The lines below `header` that are indented deeper, as they are.
    fn literal(&mut self, header: usize, indent: usize, style: &str) -> String {
        let deeper =
            |line: &&str| line.trim().is_empty() || line.len() - line.trim_start_matches(' ').len() > indent;
        let body: Vec<&str> = self.raw.iter().skip(header).copied().take_while(deeper).collect();
        let end = header + body.len();
        while self.peek().is_some_and(|line| line.number <= end) {
            self.at += 1;
        }
        let text = body.iter().filter(|line| !line.trim().is_empty());
        let margin = text.map(|line| line.len() - line.trim_start_matches(' ').len()).min().unwrap_or(0);
        let lines: Vec<&str> = body.iter().map(|line| line.get(margin..).unwrap_or_default()).collect();
        let joined = lines.join(if style.starts_with('>') { " " } else { "\n" });
        joined.trim_end().to_owned()
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// `key: rest` outside quotes; the rest may be empty.
fn split_key(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['{', '[']) {
        return None;
    }
    let quoted = text.chars().next().filter(|letter| matches!(letter, '"' | '\''));
    let from = match quoted {
        Some(quote) => text.get(1..)?.find(quote)? + 2,
        None => 0,
    };
    let tail = text.get(from..)?;
    let colon =
        from + if tail.ends_with(':') { tail.find(": ").unwrap_or(tail.len() - 1) } else { tail.find(": ")? };
    Some((text.get(..colon)?.trim(), text.get(colon + 1..)?.trim()))
}

fn unquoted(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

fn scalar(text: &str, number: usize) -> Result<Value, String> {
    if text.starts_with('[') || text.starts_with('{') {
        return flow(text).ok_or_else(|| format!("line {number}: {text} cannot be read"));
    }
    if text.starts_with('"') {
        return serde_json::from_str(text)
            .map_err(|_| format!("line {number}: {text} is not one quoted text"));
    }
    if text.starts_with('\'') {
        return Ok(Value::String(unquoted(text).replace("''", "'")));
    }
    if text.starts_with(['&', '!', '@', '`', '%']) {
        return Err(format!("line {number}: {text} must be quoted"));
    }
    Ok(match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" | "~" => Value::Null,
        _ => match serde_json::from_str(text) {
            Ok(number @ Value::Number(_)) => number,
            _ => Value::String(text.to_owned()),
        },
    })
}

/// A list or a map of scalars in brackets; also anything that is JSON.
fn flow(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
        return items.map(|item| scalar(item, 0).ok()).collect::<Option<Vec<_>>>().map(Value::Array);
    }
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'))?;
    let entries = inner.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(|entry| {
        let (key, value) = split_key(entry)?;
        Some((unquoted(key).to_owned(), scalar(value, 0).ok()?))
    });
    entries.collect::<Option<Map<_, _>>>().map(Value::Object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pipeline_as_people_write_it_is_read() {
        let text = "# what it is for\nfilter:\n  path: \"/sensor*\"  # all of them\n  content_type: application/cbor\nsteps:\n\
                    - name: to-json\n  transformer:\n    type: cbor-to-json\n    version: v1\n  - name: out\n";
        assert!(parse(text).is_err(), "an item deeper than its list is no item of it");
        let text = "filter:\n  path: '/it''s'\nsteps:\n  - name: a\n    destination:\n      type: webhook\n      parameters:\n        \
                    url: http://127.0.0.1:1/x\n        headers:\n          x-secret: $NAME\n  -\n    name: b\nmore: {a: 1, b: [x, 2]}\n";
        let expected = json!({
            "filter": {"path": "/it's"},
            "steps": [
                {"name": "a", "destination": {"type": "webhook", "parameters": {
                    "url": "http://127.0.0.1:1/x", "headers": {"x-secret": "$NAME"}
                }}},
                {"name": "b"}
            ],
            "more": {"a": 1, "b": ["x", 2]}
        });
        // A flow list within a flow map is beyond this reader; alone it is not.
        assert!(parse(text).is_err());
        assert_eq!(parse(&text.replace("{a: 1, b: [x, 2]}", "{\"a\": 1, \"b\": [\"x\", 2]}")), Ok(expected));
        assert_eq!(parse("a: [x, 2]"), Ok(json!({"a": ["x", 2]})));
    }

    #[test]
    fn lists_may_stand_at_their_keys_column_and_literals_keep_their_lines() {
        let text = "steps:\n- name: a\n  patch: |\n    [{\"op\": \"add\"}]\n\n    # not a comment\n- name: b\nlast: true\n";
        let expected = json!({
            "steps": [{"name": "a", "patch": "[{\"op\": \"add\"}]\n\n# not a comment"}, {"name": "b"}],
            "last": true
        });
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_line() {
        for (text, line) in [
            ("a: 1\n  b: 2\n", 2),
            ("a: 1\na: 2\n", 2),
            ("\n\nx\n\ty: 1\n", 4),
            ("a: &b\n", 1),
            ("a: {x\n", 1),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(&format!("line {line}")), "{text:?}: {why}");
        }
    }
}
