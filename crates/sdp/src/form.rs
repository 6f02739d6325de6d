//! Corrects the form of a description's text before it is parsed: mistakes of clients that change no meaning are
//! corrected here, so that the parser stays strict. Line numbers stay the same, since errors name them.

use std::borrow::Cow;

use crate::limits;

/// Removes a byte order mark, and blanks and CRs at the ends of lines, and replaces lines that are not read by an
/// empty attribute. A text of more bytes than allowed is returned unchanged; it is refused later.
pub(crate) fn tidied(text: &str) -> Cow<'_, str> {
    if text.len() > limits::MAX_BYTES || !needs_it(text) {
        return Cow::Borrowed(text);
    }
    let mut tidy = String::with_capacity(text.len());
    for line in without_mark(text).split_inclusive('\n') {
        let content = line.trim_ascii_end();
        tidy.push_str(if is_unread(content) { "a=-" } else { content });
        if line.ends_with('\n') {
            tidy.push('\n');
        }
    }
    Cow::Owned(tidy)
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn needs_it(text: &str) -> bool {
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    text.starts_with('\u{feff}')
        || lines.any(|line| {
            is_unread(line) || line.as_bytes().last().is_some_and(u8::is_ascii_whitespace)
        })
}

/// Whether the line has a type that is read nowhere. A bandwidth or a time zone that makes no sense must not cost a
/// session; browsers ignore them too.
fn is_unread(line: &str) -> bool {
    matches!(line.as_bytes(), [b'b' | b'e' | b'k' | b'p' | b'r' | b'z', b'=', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_line_ends_of_all_kinds_go_and_lines_keep_their_numbers() {
        let text = "\u{feff}v=0\r\r\ns=- \r\nb=AS:lots\nt=0 0\r\n\r\na=mid:0";
        assert_eq!(tidied(text), "v=0\ns=-\na=-\nt=0 0\n\na=mid:0");
    }

    #[test]
    fn a_tidy_text_is_not_copied() {
        let text = "v=0\r\ns=-\r\n";
        assert!(matches!(tidied(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn a_cr_within_a_line_stays_to_be_refused() {
        assert_eq!(tidied("a=x:\ra=mid:0 \r\n"), "a=x:\ra=mid:0\n");
    }
}
