//! The program; see the library.

fn main() -> std::process::ExitCode {
    dsmil_probe::main()
}
