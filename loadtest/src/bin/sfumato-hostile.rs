//! The command of the hostile run. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sfumato_loadtest::hostile::main()
}
