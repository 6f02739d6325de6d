//! The command: flags, Ctrl-C, files of reports, the exit code. The rest is in the library.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use clap::Parser;
use sfumato_loadtest::{
    args::Arguments,
    plan::Plan,
    report::{Report, html, json, text},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let only_plan = arguments.plan;
    let plan = match Plan::resolve(arguments) {
        Ok(plan) => plan,
        Err(error) => return fail(&error),
    };
    if only_plan {
        return print(&plan.explain(), ExitCode::SUCCESS);
    }
    // Checked before the run, which would otherwise have to be repeated for a wrong path.
    if let Err(error) = try_files(&plan) {
        return fail(&error);
    }
    let interrupted = match interruptible() {
        Ok(interrupted) => interrupted,
        Err(error) => return fail(&format!("signals: {error}")),
    };
    let report = match sfumato_loadtest::run(&plan, &interrupted) {
        Ok(report) => report,
        Err(error) => return fail(&error.to_string()),
    };
    if let Err(error) = write(&plan, &report) {
        return fail(&error);
    }
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// The first Ctrl-C ends the run in order, the second one at once.
fn interruptible() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))?;
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

/// Checks that the files of the reports can be written. What is in them stays until then.
fn try_files(plan: &Plan) -> Result<(), String> {
    for path in [&plan.json, &plan.html].into_iter().flatten().filter(|path| !is_stdout(path)) {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        file.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn write(plan: &Plan, report: &Report) -> Result<(), String> {
    let to_stdout = plan.json.as_deref().is_some_and(is_stdout);
    if !to_stdout {
        print(&text::summary(report), ExitCode::SUCCESS);
    }
    if let Some(path) = &plan.json {
        let text = format!("{:#}\n", json::to_json(report));
        if to_stdout {
            print(&text, ExitCode::SUCCESS);
        } else {
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    if let Some(path) = &plan.html {
        let page = html::to_html(report);
        fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Writes to standard output. It is no failure if the reader is gone.
fn print(text: &str, code: ExitCode) -> ExitCode {
    let _gone = io::stdout().write_all(text.as_bytes());
    code
}

fn fail(error: &str) -> ExitCode {
    let _gone = writeln!(io::stderr(), "sfumato-loadtest: {error}");
    ExitCode::from(2)
}
