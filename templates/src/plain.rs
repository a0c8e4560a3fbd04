use std::borrow::Cow;

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

/// Keeps the direction of a name to itself (UAX #9, FSI and PDI), or it would reorder the words around it.
///
/// Only where the directions may differ: the marks end up in what a reader copies.
pub(crate) fn isolate<'a>(text: &'a str, direction: &str) -> Cow<'a, str> {
    let differs = match direction {
        "rtl" => text.contains(char::is_alphabetic),
        _ => text.contains(is_right_to_left),
    };
    if differs {
        Cow::Owned(format!("\u{2068}{text}\u{2069}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// By the blocks of the scripts that run from right to left.
fn is_right_to_left(c: char) -> bool {
    matches!(
        c,
        '\u{590}'..='\u{8ff}'
        | '\u{fb1d}'..='\u{fdff}'
        | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}'
        | '\u{1e800}'..='\u{1efff}'
    )
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
    fn names_of_the_other_direction_are_isolated() {
        for (text, direction, want) in [
            ("ada", "ltr", "ada"),
            ("Jürgen 漢字 👩", "ltr", "Jürgen 漢字 👩"),
            ("שלום", "ltr", "\u{2068}שלום\u{2069}"),
            ("ada (مرحبا)", "ltr", "\u{2068}ada (مرحبا)\u{2069}"),
            ("ada", "rtl", "\u{2068}ada\u{2069}"),
            ("24", "rtl", "24"),
            ("", "rtl", ""),
        ] {
            assert_eq!(isolate(text, direction), want, "{text:?} in {direction}");
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
