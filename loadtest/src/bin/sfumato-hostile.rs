//! The command of the hostile run. What is done is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    sfumato_loadtest::hostile::main()
}
