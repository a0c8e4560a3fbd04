/// Columns of a text part; long links stand out of it.
const COLUMNS: usize = 72;

/// Takes out whatever could end a line, steer a terminal or turn the reading direction around.
///
/// Joiners stay, for emoji are made with them.
pub(crate) fn single_line(text: &str) -> String {
    text.chars()
        .filter(|c| {
            !c.is_control()
                && !matches!(
                    c,
                    // Line and paragraph separator.
                    '\u{2028}' | '\u{2029}'
                    // Direction marks, embeddings, overrides and isolates (UAX #9).
                    | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                )
        })
        .collect()
}

/// Breaks long lines between words. A line that starts with a space stays as it is.
pub(crate) fn wrap(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.starts_with(' ') {
            out.push_str(line);
            continue;
        }
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            let width = word.trim_end().chars().count();
            if column > 0 && column + width > COLUMNS {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                column = 0;
            }
            out.push_str(word);
            column += word.chars().count();
        }
    }
    out
}

/// Mends the gaps that template blocks leave: at most one empty line, and one line end at the end.
pub(crate) fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            gap = !out.is_empty();
            continue;
        }
        if gap {
            out.push('\n');
            gap = false;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_direction_marks_are_taken_out_and_emoji_stay_whole() {
        for (raw, want) in [
            ("ada\r\nBcc: eve@example.com", "adaBcc: eve@example.com"),
            ("a\0b\tc\u{1b}[31md\u{7f}e\u{85}f", "abc[31mdef"),
            ("ada\u{2028}eve\u{2029}", "adaeve"),
            (
                "\u{202e}txt.exe\u{202c}\u{2066}x\u{2069}\u{200f}\u{200e}\u{061c}",
                "txt.exex",
            ),
            (
                "\u{1f469}\u{200d}\u{1f4bb} שלום",
                "\u{1f469}\u{200d}\u{1f4bb} שלום",
            ),
        ] {
            assert_eq!(single_line(raw), want, "{raw:?}");
        }
    }

    #[test]
    fn long_lines_break_between_words_and_long_words_stay_whole() {
        let word = "x".repeat(100);
        let text = format!(
            "{} end\n{word} a\n  {} kept\n",
            "word ".repeat(14),
            "y ".repeat(60)
        );
        let want = format!(
            "{}\nend\n{word}\na\n  {} kept\n",
            "word ".repeat(14).trim_end(),
            "y ".repeat(60)
        );
        assert_eq!(wrap(&text), want);
    }

    #[test]
    fn gaps_shrink_to_one_empty_line() {
        assert_eq!(tidy("\n\na  \n \n\n\nb\n\n"), "a\n\nb\n");
        assert_eq!(tidy(""), "");
    }
}
