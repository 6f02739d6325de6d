//! Limits that are checked before a description is parsed, so that a description of any client costs bounded work.

use crate::SdpError;

/// The longest description in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// The number of lines in a description. The longest offers of browsers (dozens of receiving sections) have less than
/// half of it.
pub const MAX_LINES: usize = 8_192;
/// The longest line in bytes. Lines with many parameter sets or candidates are far shorter.
pub const MAX_LINE_BYTES: usize = 4_096;
/// The number of media sections in a description.
pub const MAX_SECTIONS: usize = 64;

/// Checks a description against all limits.
pub(crate) fn check(text: &str) -> Result<(), SdpError> {
    if text.len() > MAX_BYTES {
        return Err(SdpError::malformed(
            "description",
            format!("{} bytes; at most {MAX_BYTES} are allowed", text.len()),
        ));
    }
    let mut sections = 0;
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        if number > MAX_LINES {
            return Err(SdpError::malformed(
                format!("line {number}"),
                format!("at most {MAX_LINES} lines are allowed"),
            ));
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(SdpError::malformed(
                format!("line {number}"),
                format!("{} bytes; at most {MAX_LINE_BYTES} are allowed", line.len()),
            ));
        }
        // RFC 8866 section 9: a byte-string contains neither. A CR that is copied into an answer would begin a new
        // line there.
        if line.bytes().any(|byte| matches!(byte, b'\r' | b'\0')) {
            return Err(SdpError::malformed(
                format!("line {number}"),
                "a CR within the line, or a NUL; any other character is allowed",
            ));
        }
        if line.starts_with("m=") {
            sections += 1;
            if sections > MAX_SECTIONS {
                return Err(SdpError::malformed(
                    format!("line {number}"),
                    format!("one media section too many; at most {MAX_SECTIONS} are allowed"),
                ));
            }
        }
    }
    Ok(())
}
