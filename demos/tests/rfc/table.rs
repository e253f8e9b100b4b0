//! Reads the table. Its first lines say what its marks mean.

/// A request, or several on one connection, and the right answer.
#[derive(Debug, Default)]
pub struct Block {
    /// The document, the section, and the requirement in plain words.
    pub title: String,
    /// The number of the title's line.
    pub line: usize,
    pub steps: Vec<Step>,
    /// Which of the requests are HEAD requests.
    pub heads: Vec<bool>,
    pub expected: Vec<(Target, Vec<Statuses>)>,
    /// Whether the client ends its side after the request, and sends no honest one.
    pub ends: bool,
    /// Fields of the first answer, with a value or without one.
    pub has: Vec<String>,
    /// Fields that the first answer lacks.
    pub lacks: Vec<String>,
    pub body: Option<Vec<u8>>,
    pub forwarded: Forwarded,
}

/// The statuses that are allowed in one place.
pub type Statuses = Vec<u16>;

/// What a client does.
#[derive(Debug)]
pub enum Step {
    Send(Vec<u8>),
    /// Waits for an interim answer.
    Await(u16),
}

/// Which program an expectation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    All,
    Http,
    Proxy,
    Web,
}

/// What reaches the server behind the proxy, and what that says.
#[derive(Debug, Default)]
pub struct Forwarded {
    pub lines: Vec<String>,
    pub lacks: Vec<String>,
    /// Nothing is forwarded.
    pub nothing: bool,
    /// What the server answers, if the answer is the requirement.
    pub answer: Vec<u8>,
}

impl Forwarded {
    /// Whether the block needs the server that records.
    pub fn is_given(&self) -> bool {
        !(self.lines.is_empty() && self.lacks.is_empty() && self.answer.is_empty()) || self.nothing
    }
}

impl Block {
    /// What a program of this kind may answer, and whether the table says so for this kind by name.
    pub fn expected(&self, target: Target) -> (Vec<&[Statuses]>, bool) {
        let find = |wanted: Target| {
            let found = self.expected.iter().filter(move |(target, _)| *target == wanted);
            found.map(|(_, statuses)| &statuses[..]).collect::<Vec<_>>()
        };
        match find(target) {
            own if !own.is_empty() => (own, true),
            _ => (find(Target::All), false),
        }
    }

    /// All that the client sends, as a report shows it.
    pub fn shown(&self) -> String {
        let bytes = self.steps.iter().map(|step| match step {
            Step::Send(bytes) => shorten(&bytes.escape_ascii().to_string()),
            Step::Await(status) => format!("(waits for {status})"),
        });
        bytes.collect()
    }

    fn send(&mut self, bytes: &[u8]) {
        let begun = bytes.trim_ascii_start();
        if !begun.is_empty() && (self.heads.is_empty() || is_request_line(begun)) {
            self.heads.push(begun.starts_with(b"HEAD "));
        }
        match self.steps.last_mut() {
            Some(Step::Send(before)) => before.extend_from_slice(bytes),
            _ => self.steps.push(Step::Send(bytes.to_vec())),
        }
    }

    /// Takes a line that begins with this mark.
    fn add(&mut self, mark: &str, rest: &str, tag: &str) -> Result<(), String> {
        match mark {
            ">" => self.send(&[unescape(rest, tag)?, b"\r\n".to_vec()].concat()),
            "." => {
                // What is sent raw may look like a request inside a body, so it counts only as the beginning.
                let heads = self.heads.len();
                self.send(&unescape(rest, tag)?);
                self.heads.truncate(heads.max(1));
            }
            "<" => self.steps.push(Step::Await(rest.parse().map_err(|_| "no status")?)),
            "=" => self.expected.push(expectation(rest)?),
            "+" => self.has.push(rest.replace("\\[tag]", tag)),
            "-" => self.lacks.push(rest.to_owned()),
            "body" => self.body = Some(unescape(rest, tag)?),
            "end" => self.ends = true,
            "~>" => self.forwarded.lines.push(String::from_utf8_lossy(&unescape(rest, tag)?).into_owned()),
            "~-" => self.forwarded.lacks.push(rest.to_owned()),
            "~none" => self.forwarded.nothing = true,
            "~<" => self.forwarded.answer.extend([unescape(rest, tag)?, b"\r\n".to_vec()].concat()),
            "~." => self.forwarded.answer.extend(unescape(rest, tag)?),
            _ => return Err(format!("{mark:?} is no mark")),
        }
        Ok(())
    }
}

fn is_request_line(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_end();
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
}

/// The blocks of the table. `tag` is the entity tag of the file that the table names.
pub fn read(text: &str, tag: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("RFC ") {
            blocks.push(Block { title: line.to_owned(), line: number + 1, ..Block::default() });
        } else if !line.is_empty() && !line.starts_with('#') {
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            let block = blocks.last_mut().unwrap_or_else(|| panic!("line {}: no title before it", number + 1));
            block.add(mark, rest, tag).unwrap_or_else(|reason| panic!("line {}: {reason}", number + 1));
        }
    }
    blocks
}

/// `http 200 400|505`: a program, if it is not all of them, and a status or several for each answer. `-` is none.
fn expectation(text: &str) -> Result<(Target, Vec<Statuses>), String> {
    let (target, statuses) = match text.split_once(' ').unwrap_or((text, "")) {
        ("http", rest) => (Target::Http, rest),
        ("proxy", rest) => (Target::Proxy, rest),
        ("web", rest) => (Target::Web, rest),
        _ => (Target::All, text),
    };
    let place = |place: &str| place.split('|').map(|status| status.parse::<u16>().ok()).collect::<Option<Statuses>>();
    let statuses = match statuses {
        "-" => Some(Vec::new()),
        statuses => statuses.split(' ').map(place).collect(),
    };
    Ok((target, statuses.ok_or_else(|| format!("{text:?} holds something else than statuses"))?))
}

/// Escapes: `\r`, `\n`, `\t`, `\0`, `\\`, `\x80`, `\[tag]`, and `\[9000 a]`, which is an `a` 9,000 times.
fn unescape(text: &str, tag: &str) -> Result<Vec<u8>, String> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let letter = after.chars().next().ok_or("an escape without a letter")?;
        rest = &after[letter.len_utf8()..];
        match letter {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                let (digits, after) = rest.split_at_checked(2).ok_or("two digits are missing")?;
                out.push(u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?);
                rest = after;
            }
            '[' => {
                let (inside, after) = rest.split_once(']').ok_or("a bracket stays open")?;
                match inside.split_once(' ') {
                    None => out.extend_from_slice(tag.as_bytes()),
                    Some((count, text)) => {
                        let count = count.parse().map_err(|_| format!("{count:?} is no number"))?;
                        out.extend(unescape(text, tag)?.repeat(count));
                    }
                }
                rest = after;
            }
            other => return Err(format!("\\{other} is no escape")),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// The beginning and the end of what is too long to read.
pub fn shorten(text: &str) -> String {
    const END: usize = 200;
    match text.len() {
        length if length > 2 * END => format!("{} ({length} bytes) {}", &text[..END], &text[length - END..]),
        _ => text.to_owned(),
    }
}
