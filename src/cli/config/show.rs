//! `zkops config show`: a revision's files, or what is in one.

use serde::Serialize;

use super::revision;
use crate::{
    cli::{
        context::Context,
        failure::Failure,
        get::Format,
        render::{self, Table},
    },
    model::{ConfigFile, ConfigRevision, ServiceName, read_number},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  zkops config show webapp 4
  zkops config show webapp 4 conf.d/site.conf > site.conf")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// The revision
    #[arg(value_name = "N", value_parser = read_number::<u64>)]
    number: u64,
    /// Print this file as it is
    #[arg(value_name = "FILE")]
    file: Option<String>,
    #[command(flatten)]
    output: Format,
}

/// The shape for programs.
#[derive(Serialize)]
struct Document<'s, T> {
    service: &'s ServiceName,
    number: u64,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize)]
struct Whole<'s> {
    revision: &'s ConfigRevision,
}

#[derive(Serialize)]
struct Part<'s> {
    path: &'s str,
    file: &'s ConfigFile,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let client = cx.connect_to_tree().await?;
    let (service, number) = (&args.service, args.number);
    let (revision, _) = revision::read(service, number, &client).await?;
    match (&args.file, args.output.is_json()) {
        (None, true) => {
            let content = Whole { revision: &revision };
            Ok(render::out(&render::json_text(&Document { service, number, content })?)?)
        }
        (None, false) => Ok(render::out(&page(service, number, &revision)?)?),
        (Some(path), json) => {
            let file = revision.files.get(path).ok_or_else(|| no_file(args, path, &revision))?;
            if json {
                let content = Part { path, file };
                return Ok(render::out(&render::json_text(&Document { service, number, content })?)?);
            }
            content(path, file)
        }
    }
}

fn no_file(args: &Args, path: &str, revision: &ConfigRevision) -> Failure {
    let names: Vec<&str> = revision.files.keys().map(String::as_str).take(10).collect();
    let Args { service, number, .. } = args;
    Failure::NotFound(format!("revision {number} of {service} has no file \"{path}\"; it has {}", names.join(", ")))
}

/// The file's bytes, unless a terminal would have to draw them.
fn content(path: &str, file: &ConfigFile) -> anyhow::Result<()> {
    let bytes = revision::bytes(path, file)?;
    if !render::is_screen() {
        return Ok(render::raw(&bytes)?);
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::Input(format!("{path} is no text: redirect it to a file")))?;
    text.lines().try_for_each(|line| Ok(render::line(&render::harmless(line))?))
}

fn page(service: &ServiceName, number: u64, revision: &ConfigRevision) -> Result<String, Failure> {
    let mut head = Table::new(["Service:", service.as_str()]);
    head.row(["Revision:".into(), number.into()]);
    if let Some(message) = &revision.message {
        head.row(["Message:".into(), message.into()]);
    }
    let mut files = Table::new(["FILE", "BYTES", "MODE", "OWNER", "GROUP", "KIND"]);
    for (path, file) in &revision.files {
        let kind = match file {
            ConfigFile { template: true, .. } => "template",
            ConfigFile { text: Some(_), .. } => "text",
            _ => "binary",
        };
        files.row([
            path.into(),
            revision::bytes(path, file)?.len().into(),
            file.mode.as_deref().unwrap_or("0644").into(),
            file.owner.as_deref().unwrap_or("root").into(),
            file.group.as_deref().unwrap_or("root").into(),
            kind.into(),
        ]);
    }
    Ok(format!("{}\n{}", head.text(""), files.text("")))
}
