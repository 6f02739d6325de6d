//! Format parameters: the `a=1;b=2` of an `a=fmtp` line, seen without copying.

/// The parameters of an `a=fmtp` line. Names are compared without regard to case (RFC 4855 section 3).
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a>(pub &'a str);

impl<'a> Parameters<'a> {
    /// Name and value of each parameter; a bare word has an empty value.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split(';').map(str::trim).filter(|p| !p.is_empty()).map(|p| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            (name.trim(), value.trim())
        })
    }

    /// Value of the first parameter with this name.
    pub fn value(self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// A numeric parameter, with its default when it is absent; `None` when it is no number.
    pub fn number(self, name: &str, default: u32) -> Option<u32> {
        self.value(name).map_or(Some(default), |v| v.parse().ok())
    }

    /// Whether a parameter is `1`.
    pub fn is_on(self, name: &str) -> bool {
        self.value(name) == Some("1")
    }

    /// The named parameters that are there, as one text, in the order of `names`.
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
        assert_eq!(p.number("absent", 7), Some(7));
        assert_eq!(p.number("profile-level-id", 7), None);
        assert_eq!(
            p.keep(&["profile-level-id", "absent", "packetization-mode"]),
            "profile-level-id=42e01f;packetization-mode=1"
        );
    }
}
