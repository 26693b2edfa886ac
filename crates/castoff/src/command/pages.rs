//! `castoff completion` and `castoff man`.

use std::io;

use crate::args::{self, CompletionArgs, ManArgs};
use crate::exit;

pub(super) fn completion(arguments: &CompletionArgs) -> anyhow::Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut args::command(), "castoff", &mut text);
    super::print(&String::from_utf8_lossy(&text))
}

pub(super) fn man(arguments: &ManArgs) -> anyhow::Result<u8> {
    match &arguments.directory {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            clap_mangen::generate_to(args::command(), directory)?;
            Ok(exit::SUCCESS)
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(args::command()).render(&mut text).map_err(io::Error::other)?;
            super::print(&String::from_utf8_lossy(&text))
        }
    }
}
