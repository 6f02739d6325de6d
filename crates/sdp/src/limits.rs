//! Limits that are checked before anything is parsed, so that a stranger's description costs bounded work.

use crate::SdpError;

/// Longest description in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// Most lines in a description. The longest offers of browsers (dozens of receiving sections) stay below a half.
pub const MAX_LINES: usize = 8_192;
/// Longest line in bytes. A line of many parameter sets or candidates stays far below.
pub const MAX_LINE_BYTES: usize = 4_096;
/// Most media sections in a description.
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
        // RFC 8866 section 9: a byte-string holds neither. A CR that came back in an answer would begin a line there.
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
