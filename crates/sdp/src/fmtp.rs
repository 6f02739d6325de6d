//! Format parameters: the `a=1;b=2` of an `a=fmtp` line, read without copying.

/// The parameters of an `a=fmtp` line. Names are compared without regard to case (RFC 4855 section 3).
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a>(pub &'a str);

impl<'a> Parameters<'a> {
    /// The value of the first parameter with this name; a parameter without `=` has an empty value. The text is
    /// compared byte by byte: a long offer has thousands of lines, in each of which several names are looked up.
    pub fn value(self, name: &str) -> Option<&'a str> {
        let mut rest = self.0;
        loop {
            let end = rest.bytes().position(|b| b == b';').unwrap_or(rest.len());
            let parameter = rest[..end].trim_ascii_start();
            if let Some((head, tail)) = parameter.split_at_checked(name.len())
                && head.eq_ignore_ascii_case(name)
            {
                let tail = tail.trim_ascii();
                match tail.strip_prefix('=') {
                    Some(value) => return Some(value.trim_ascii_start()),
                    None if tail.is_empty() => return Some(tail),
                    // A longer name that only begins with this one.
                    None => {}
                }
            }
            rest = rest.get(end + 1..)?;
        }
    }

    /// The value of a numeric parameter, or `default` when it is absent; `None` when it is no number.
    pub fn number(self, name: &str, default: u32) -> Option<u32> {
        self.value(name).map_or(Some(default), |v| v.parse().ok())
    }

    /// Whether a parameter is `1`.
    pub fn is_on(self, name: &str) -> bool {
        self.value(name) == Some("1")
    }

    /// Those of the named parameters that are present, as one text, in the order of `names`.
    pub fn keep(self, names: &[&str]) -> String {
        let mut kept = String::new();
        for name in names {
            if let Some(value) = self.value(name) {
                append(&mut kept, name, value);
            }
        }
        kept
    }
}

/// Appends `name=value` to a list of parameters.
pub fn append(list: &mut String, name: &str, value: &str) {
    if !list.is_empty() {
        list.push(';');
    }
    list.push_str(name);
    list.push('=');
    list.push_str(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_in_any_case_and_spacing() {
        let p = Parameters("Packetization-Mode=1; profile-level-id=42e01f ;bare;");
        assert_eq!(p.value("packetization-mode"), Some("1"));
        assert_eq!(p.value("profile-level-id"), Some("42e01f"));
        assert_eq!(p.value("bare"), Some(""));
        assert_eq!(p.value("absent"), None);
        assert_eq!(p.value("packetization"), None, "a longer name is another one");
        assert_eq!(Parameters("").value("bare"), None);
        assert_eq!(Parameters("\u{fc}=1;bar\u{fc}=2;bare = 3 ").value("bare"), Some("3"));
        assert_eq!(p.number("absent", 7), Some(7));
        assert_eq!(p.number("profile-level-id", 7), None);
        assert_eq!(
            p.keep(&["profile-level-id", "absent", "packetization-mode"]),
            "profile-level-id=42e01f;packetization-mode=1"
        );
    }
}
