//! Renders templates in a process of its own, which ends with it.
//!
//! The language lets a template double a text with each step (`{% set x = x ~ x %}`), repeat a list a billion times, or nest
//! one a million deep, and none of its operators can be limited. So the process is, by the kernel: a template takes so much
//! memory and so much of a processor's time, and neither of them, nor a stack that overflows, nor a fault of the engine
//! itself, is the agent's.
//!
//! The process is zkops itself ([`RENDER_VERB`]). It reads a [`Job`] on standard input, limits itself, and answers on
//! standard output with one frame for each template: a letter, the length (four bytes, least first), the text.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures_util::future::join3;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    sync::Semaphore,
    time::timeout,
};

use super::{
    ConfigurationError,
    render::{LARGEST, too_large},
    template::{self, Context, LONGEST},
};
use crate::blocking;

/// The verb with which zkops renders templates. Nobody is to type it.
pub const RENDER_VERB: &str = "render-templates";

/// How much memory the process may take, in bytes: the job, the longest text, and some 40 MiB for a template's values.
const MEMORY: u64 = 64 * 1024 * 1024;
/// How much of a processor's time, in seconds. The engine's own limit comes first, but for steps that take long.
const SECONDS: u64 = 5;
/// How long it may take in all: a host that is short of time may have more of it later.
const LIMIT: Duration = Duration::from_secs(60);
/// How many render at once, for all replicas together.
static TURNS: Semaphore = Semaphore::const_new(2);
/// How much of what the process complains of is looked at, in bytes.
const COMPLAINT: u64 = 4096;
/// As signal(7) has it, on all of systemd's architectures but MIPS.
const SIGXCPU: i32 = 24;

/// A frame's letter: a template's text, or why there is none.
const TEXT: u8 = b't';
const ERROR: u8 = b'e';

/// What renders templates.
#[derive(Clone, Debug)]
pub enum Renderer {
    /// A process of this program, which is zkops.
    Process(PathBuf),
    /// Whoever asks.
    #[cfg(test)]
    Here,
}

/// What one process renders.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    /// By path.
    templates: BTreeMap<String, String>,
    context: Context,
}

/// One template's text, or why there is none.
type Frame = Result<Vec<u8>, String>;

impl Renderer {
    /// Renders the templates, by path.
    pub(super) async fn render(
        &self,
        templates: BTreeMap<String, String>,
        context: Context,
    ) -> Result<BTreeMap<String, Vec<u8>>, ConfigurationError> {
        if templates.is_empty() {
            return Ok(BTreeMap::new());
        }
        let job = Job { templates, context };
        match self {
            Self::Process(program) => job.run(program.clone()).await,
            #[cfg(test)]
            Self::Here => job
                .templates
                .iter()
                .map(|(path, text)| Ok((path.clone(), template::render(path, text, &job.context)?)))
                .collect(),
        }
    }
}

impl Job {
    /// Has a process render it.
    async fn run(self, program: PathBuf) -> Result<BTreeMap<String, Vec<u8>>, ConfigurationError> {
        // Never closed.
        let _turn = TURNS.acquire().await;
        let failed = |error| ConfigurationError::io("cannot render templates", &error);
        let mut command = Command::new(program);
        command.arg(RENDER_VERB).env_clear().current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = blocking::STARTS.run(move || command.spawn()).await.map_err(failed)?;
        let late = || ConfigurationError::passing(format!("rendering the templates took more than {LIMIT:?}"));
        timeout(LIMIT, self.follow(child)).await.map_err(|_| late())?
    }

    async fn follow(&self, mut child: Child) -> Result<BTreeMap<String, Vec<u8>>, ConfigurationError> {
        let failed = |error| ConfigurationError::io("cannot render templates", &error);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let ask = async {
            let data = serde_json::to_vec(self).unwrap_or_default();
            // What does not read it to its end says why by how it ends. Dropped, it is closed.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(&data).await;
            }
        };
        let mut complaint = Vec::new();
        let complain = async {
            if let Some(stderr) = stderr {
                let _ = stderr.take(COMPLAINT).read_to_end(&mut complaint).await;
            }
        };
        let ((), answer, ()) = join3(ask, self.read_answer(stdout), complain).await;
        let (texts, next) = answer?;
        let Some(path) = next else { return Ok(texts) };
        let status = child.wait().await.map_err(failed)?;
        Err(why_ended(path, status, &String::from_utf8_lossy(&complaint)))
    }

    /// The templates' texts; and the first that has none.
    async fn read_answer(
        &self,
        answer: Option<impl AsyncRead + Unpin>,
    ) -> Result<(BTreeMap<String, Vec<u8>>, Option<&str>), ConfigurationError> {
        let mut texts = BTreeMap::new();
        let Some(mut answer) = answer else { return Ok((texts, None)) };
        let mut left = LARGEST;
        for path in self.templates.keys() {
            match read_frame(&mut answer).await {
                Ok(Ok(text)) => {
                    left = left.checked_sub(text.len()).ok_or_else(|| too_large(path))?;
                    texts.insert(path.clone(), text);
                }
                Ok(Err(why)) => return Err(ConfigurationError::rejected(why)),
                Err(_) => return Ok((texts, Some(path))),
            }
        }
        Ok((texts, None))
    }
}

async fn read_frame(answer: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let kind = answer.read_u8().await?;
    let length = answer.read_u32_le().await? as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    answer.read_exact(&mut text).await?;
    Ok(if kind == TEXT { Ok(text) } else { Err(String::from_utf8_lossy(&text).into_owned()) })
}

/// Why the process ended before it had rendered this template.
fn why_ended(path: &str, status: ExitStatus, complaint: &str) -> ConfigurationError {
    let rejected = |why: &str| ConfigurationError::rejected(format!("{path}: {why}"));
    let said = || complaint.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("nothing");
    if complaint.contains("memory allocation of") {
        let memory = MEMORY / 1024 / 1024;
        rejected(&format!("the template takes more than {memory} MiB of memory: let its values not grow so large"))
    } else if complaint.contains("overflowed its stack") {
        rejected("the template nests its values too deeply")
    } else if status.signal() == Some(SIGXCPU) {
        rejected(&format!("the template takes more than {SECONDS} s of a processor's time"))
    } else if complaint.contains("panicked at") {
        rejected(&format!("the template cannot be rendered: {}", said()))
    } else {
        // As by the kernel, which is out of memory.
        let message = format!("{path}: the process that renders it ended early ({status}); it said: {}", said());
        ConfigurationError::passing(message)
    }
}

/// The process's side: reads a job on standard input, renders it within the limits, and answers on standard output.
///
/// # Errors
/// When there is no job, the limits cannot be set, or nobody reads the answer.
pub fn serve_rendering() -> io::Result<()> {
    limit_itself()?;
    let mut data = Vec::new();
    io::stdin().lock().read_to_end(&mut data)?;
    let job: Job = serde_json::from_slice(&data)?;
    drop(data);
    let mut answer = io::stdout().lock();
    for (path, text) in &job.templates {
        match template::render(path, text, &job.context) {
            Ok(text) => write_frame(&mut answer, TEXT, &text)?,
            Err(error) => return write_frame(&mut answer, ERROR, error.message.as_bytes()),
        }
    }
    Ok(())
}

fn write_frame(answer: &mut impl io::Write, kind: u8, text: &[u8]) -> io::Result<()> {
    answer.write_all(&[kind])?;
    answer.write_all(&u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes())?;
    answer.write_all(text)?;
    answer.flush()
}

/// The kernel keeps these limits, whatever is rendered. No core is left behind: it would have what templates see.
fn limit_itself() -> io::Result<()> {
    let limit = |resource, limit| setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) });
    limit(Resource::Data, MEMORY)?;
    setrlimit(Resource::Cpu, Rlimit { current: Some(SECONDS), maximum: Some(SECONDS * 2) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
