//! The `diptych` program: a thin shell over the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    diptych::window::launched();
    diptych::cli::main()
}
