//! Says to the shared files that they are compiled for shuttle.

#![allow(clippy::print_stdout, reason = "what is printed is read by cargo")]

fn main() {
    println!("cargo::rustc-cfg=shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
