//! The `gateway` command.

use std::process::ExitCode;

/// Requests allocate little, but on every worker at once; the system's allocator makes them wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway::command::main()
}
