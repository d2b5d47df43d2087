//! Contradictions as one HTML page that needs nothing else: no scripts, no fonts, no other file.
//!
//! Each contradiction is an SVG drawing, a row for each process, and a table with the exact times. Columns of the drawing are
//! the moments at which something began or ended, in their order: a contradiction between operations seconds apart, each a
//! microsecond long, stays readable. Everything that came from a history is escaped, and the page forbids itself to
//! load or run anything.

mod drawing;

use std::fmt::{self, Write};

use crate::witness::{Witness, WitnessOperation};

/// A part of a page: one judgement.
#[derive(Clone, Debug)]
pub struct Section {
    /// What was judged.
    pub heading: String,
    /// What was found, in a sentence.
    pub verdict: String,
    /// The contradiction, if there is one.
    pub witness: Option<Witness>,
}

/// The page with these sections.
pub fn page(title: &str, sections: &[Section]) -> String {
    let mut page = String::new();
    write_page(&mut page, title, sections).expect("a string takes everything");
    page
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--faint:#d0d7de;--quiet:#57606a;--bar:#0969da;--bad:#cf222e}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--faint:#30363d;--quiet:#8b949e;--bar:#58a6ff;--bad:#ff7b72}}
body{margin:2rem auto;max-width:72rem;padding:0 1rem;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
.drawing{overflow-x:auto;margin:1rem 0}
svg{display:block;font:12px ui-monospace,monospace;fill:var(--ink)}
.moment{stroke:var(--faint)}.time,.note{fill:var(--quiet);color:var(--quiet)}
.bar{stroke:var(--bar);stroke-width:6}.end{stroke:var(--bar);stroke-width:2}.open{stroke-dasharray:6 4}
.impossible .bar,.impossible .end{stroke:var(--bad)}.impossible text{fill:var(--bad);font-weight:bold}
.why{border-left:4px solid var(--bad);padding-left:.8rem;font-weight:600}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid var(--faint)}
tr.impossible td{color:var(--bad)}td{overflow-wrap:anywhere}
";

fn write_page(page: &mut String, title: &str, sections: &[Section]) -> fmt::Result {
    let title = Escaped(title);
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    )?;
    sections.iter().try_for_each(|section| write_section(page, section))?;
    page.write_str("</body>\n</html>\n")
}

fn write_section(page: &mut String, Section { heading, verdict, witness }: &Section) -> fmt::Result {
    write!(page, "<section>\n<h2>{}</h2>\n<p>{}</p>\n", Escaped(heading), Escaped(verdict))?;
    if let Some(witness) = witness {
        write_witness(page, witness)?;
    }
    page.write_str("</section>\n")
}

fn write_witness(page: &mut String, witness: &Witness) -> fmt::Result {
    let key = witness.operations.first().map(|operation| operation.key.to_string()).unwrap_or_default();
    write!(
        page,
        "<p>These operations on key <code>{}</code> have no legal order.</p>\n<p class=\"why\">{}</p>\n",
        Escaped(&key),
        Escaped(&witness.explanation)
    )?;
    drawing::write_drawing(page, witness)?;
    page.write_str(
        "<p class=\"note\">A bar lasts from the invocation to the completion; an operation of unknown outcome, dashed, may take \
         effect at any later time or never. Columns show the order of the moments, not their distance.</p>\n\
         <table>\n<tr><th>process</th><th>operation</th><th>invoked, ns</th><th>completed, ns</th></tr>\n",
    )?;
    for (place, operation) in witness.operations.iter().enumerate() {
        write_row(page, operation, place == witness.impossible)?;
    }
    page.write_str("</table>\n")
}

fn write_row(page: &mut String, operation: &WitnessOperation, is_impossible: bool) -> fmt::Result {
    let WitnessOperation { process, invoke_ns, complete_ns, .. } = operation;
    let class = if is_impossible { " class=\"impossible\"" } else { "" };
    let completed = complete_ns.map_or("never".to_owned(), |complete_ns| complete_ns.to_string());
    let deed = operation.deed();
    writeln!(
        page,
        "<tr{class}><td>{process}</td><td><code>{}</code>{}</td><td>{invoke_ns}</td><td>{completed}</td></tr>",
        Escaped(&deed),
        if is_impossible { " ✗ impossible" } else { "" }
    )
}

/// Text as HTML shows it: what could be markup is escaped, what cannot be shown, or would turn the direction of the
/// text around it, is replaced.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\n' => f.write_char('\n'),
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => f.write_char(char::REPLACEMENT_CHARACTER),
            _ if character.is_control() => f.write_char(char::REPLACEMENT_CHARACTER),
            _ => f.write_char(character),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{History, Model, Operation, Options, check};

    fn page_of(operations: &[Operation], history: History) -> String {
        let mut history = history;
        history.extend(operations);
        let report = check(&history, Model::Kv, &Options::default()).unwrap();
        let section =
            Section { heading: "a <run>".into(), verdict: "INVALID".into(), witness: report.witness };
        page("title & more", &[section])
    }

    fn stale_read() -> String {
        let operations = [
            Operation::put(1, 7, 1).during(0, 10),
            Operation::put(1, 7, 2).unknown_since(20),
            Operation::get(2, 7, 2).during(30, 40),
            Operation::get(3, 7, 1).during(50, 60),
        ];
        page_of(&operations, History::default())
    }

    #[test]
    fn a_page_stands_alone_and_says_what_is_impossible() {
        let page = stale_read();
        assert!(page.contains("<title>title &amp; more</title>") && page.contains("<h2>a &lt;run&gt;</h2>"));
        assert!(!page.contains("<script") && !page.contains("http:") && !page.contains("https:"));
        assert!(page.contains("Process 3, 50..60 ns: it read 1, but could have read 2 only."), "{page}");
        assert_eq!(page.matches("✗ impossible").count(), 1);
        assert_eq!(page.matches("<g").count(), 4, "an operation each");
        assert_eq!(page.matches("class=\"impossible\"").count(), 2, "in the drawing and in the table");
    }

    #[test]
    fn what_comes_from_the_history_cannot_become_markup() {
        let mut history = History::default();
        let evil = "</text><script>alert('1')</script>\"&\u{202E}\u{7}";
        let [key, value] =
            [json!(evil), json!(format!("{evil}2"))].map(|value| history.values_mut().intern(&value));
        let page = page_of(&[Operation::get(0, key, value).during(0, 1)], history);
        assert!(!page.contains("<script") && !page.contains('\u{202E}') && !page.contains('\u{7}'), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{page}");
    }

    #[test]
    fn every_element_that_is_opened_is_closed() {
        let page = stale_read();
        for element in
            ["html", "head", "body", "section", "svg", "g", "text", "title", "table", "tr", "td", "p"]
        {
            let opened =
                page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
            assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
        }
    }
}
