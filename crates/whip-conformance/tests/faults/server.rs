//! A WHIP endpoint in a thread: HTTP and SDP only, no media. It is correct except for the one fault that it is started
//! with.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Status200,
    Redirect302,
    NoLocation,
    NoEtag,
    UnquotedEtag,
    WeakEtag,
    TextAnswer,
    Sendrecv,
    NoCandidates,
    TwoTransports,
    ForeignPayload,
    ForeignExtension,
    NoBundle,
    Actpass,
    NoFingerprint,
    ShortPassword,
    AnyType,
    AnyBody,
    PartialAnswer,
    GetWithBody,
    NoOptions,
    NoCors,
    PreflightLinks,
    PatchStatus200,
    NoPreconditions,
    RefusesOddCandidates,
    RestartKeepsCredentials,
    RestartKeepsEtag,
    RestartForgetsLite,
    FailedRestartEnds,
    DeleteChecksEtag,
    DeleteKeeps,
    CountsSessions,
}

struct Session {
    path: String,
    generation: u64,
}

struct State {
    fault: Fault,
    sessions: Vec<Session>,
    made: u64,
    random: u64,
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Starts a server and returns the URL of its endpoint. It serves until the process ends.
pub(crate) fn start(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = State { fault, sessions: Vec::new(), made: 0, random: 0x9e37_79b9_7f4a_7c15 };
    let state = Arc::new(Mutex::new(state));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(stream, &state));
        }
    });
    format!("http://{address}/whip/room")
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(request) = read(&mut reader) else { return };
    let head = request.method == "HEAD";
    let response = state.lock().unwrap().answer(&request);
    let mut text = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if response.status != 204 {
        text += &format!("Content-Length: {}\r\n", response.body.len());
    }
    text += "\r\n";
    if !head {
        text += &response.body;
    }
    let mut stream = stream;
    let _gone = stream.write_all(text.as_bytes());
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(n, _)| n == "content-length");
    let length: usize = length.and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

impl Response {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    fn problem(status: u16) -> Self {
        let body = format!("{{\"type\":\"about:blank\",\"status\":{status}}}");
        Self::new(status).header("Content-Type", "application/problem+json").body(body)
    }
}

impl State {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn answer(&mut self, request: &Request) -> Response {
        let mut response = if request.path == "/whip/room" {
            match request.method.as_str() {
                "POST" => self.post(request),
                "OPTIONS" => self.options(request),
                "GET" | "HEAD" => self.get(),
                _ => Response::problem(405),
            }
        } else {
            let at = self.sessions.iter().position(|session| session.path == request.path);
            match (request.method.as_str(), at) {
                ("OPTIONS", _) => self.options(request),
                (_, None) => Response::problem(404),
                ("GET" | "HEAD", Some(_)) => self.get(),
                ("PATCH", Some(at)) => self.patch(at, request),
                ("DELETE", Some(at)) => self.delete(at, request),
                _ => Response::problem(405),
            }
        };
        if request.header("origin").is_some() && !self.has(Fault::NoCors) {
            response = response
                .header("Access-Control-Allow-Origin", "*")
                .header("Access-Control-Expose-Headers", "Location, ETag, Link");
        }
        response
    }

    fn get(&self) -> Response {
        let body = if self.has(Fault::GetWithBody) { "hello" } else { "" };
        Response::new(200).header("Content-Type", "application/sdp").body(body)
    }

    fn options(&self, request: &Request) -> Response {
        if self.has(Fault::NoOptions) {
            return Response::problem(405);
        }
        let mut response = Response::new(200).header("Accept-Post", "application/sdp");
        if request.header("access-control-request-method").is_some() {
            response = response
                .header("Access-Control-Allow-Methods", "POST, PATCH, DELETE")
                .header("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match");
            if self.has(Fault::PreflightLinks) {
                response = response.header("Link", "<stun:stun.example>; rel=\"ice-server\"");
            }
        }
        response
    }

    fn post(&mut self, request: &Request) -> Response {
        if self.has(Fault::Redirect302) {
            return Response::new(302).header("Location", "/elsewhere");
        }
        if request.media_type() != "application/sdp" && !self.has(Fault::AnyType) {
            return Response::problem(415);
        }
        if request.body.len() > 256 * 1024 {
            return Response::problem(413);
        }
        let password = self.password(self.made);
        let answer = match make_answer(self.fault, &request.body, &password) {
            Some(answer) => answer,
            None if self.has(Fault::AnyBody) => "v=0\r\n".to_owned(),
            None => return Response::problem(400),
        };
        self.made += 1;
        let id = if self.has(Fault::CountsSessions) {
            format!("{}", 1000 + self.made)
        } else {
            format!("{:016x}{:016x}", self.next_random(), self.next_random())
        };
        let path = format!("/whip/room/{id}");
        self.sessions.push(Session { path: path.clone(), generation: 0 });
        let mut response = Response::new(if self.has(Fault::Status200) { 200 } else { 201 })
            .header("Accept-Patch", "application/trickle-ice-sdpfrag")
            .body(answer);
        let text = self.has(Fault::TextAnswer);
        response =
            response.header("Content-Type", if text { "text/plain" } else { "application/sdp" });
        if !self.has(Fault::NoLocation) {
            response = response.header("Location", path);
        }
        match self.fault {
            Fault::NoEtag => response,
            Fault::UnquotedEtag => response.header("ETag", "tag-0"),
            Fault::WeakEtag => response.header("ETag", "W/\"tag-0\""),
            _ => response.header("ETag", "\"tag-0\""),
        }
    }

    fn patch(&mut self, at: usize, request: &Request) -> Response {
        if request.media_type() != "application/trickle-ice-sdpfrag" {
            return Response::problem(415);
        }
        let value = |name: &str| request.body.lines().find_map(|line| line.strip_prefix(name));
        let Some(password) = value("a=ice-pwd:") else { return Response::problem(400) };
        let tag = match (self.fault, self.sessions[at].generation) {
            (Fault::UnquotedEtag, 0) => "tag-0".to_owned(),
            (_, generation) => format!("\"tag-{generation}\""),
        };
        let given = request.header("if-match");
        match given {
            _ if self.has(Fault::NoPreconditions) && given != Some("*") => {}
            None => return Response::problem(428),
            Some("*" | "\"*\"") => return self.restart(at, password),
            Some(given) if given.split(',').any(|given| given.trim() == tag) => {}
            Some(_) => return Response::problem(412),
        }
        if self.has(Fault::RefusesOddCandidates) && request.body.contains(".local") {
            return Response::problem(400);
        }
        Response::new(if self.has(Fault::PatchStatus200) { 200 } else { 204 })
    }

    fn restart(&mut self, at: usize, password: &str) -> Response {
        if password.len() < 22 {
            if self.has(Fault::FailedRestartEnds) {
                self.sessions.remove(at);
            }
            return Response::problem(400);
        }
        let mut generation = self.sessions[at].generation;
        if !self.has(Fault::RestartKeepsEtag) {
            generation += 1;
            self.sessions[at].generation = generation;
        }
        let new = if self.has(Fault::RestartKeepsCredentials) {
            self.password(self.made - 1)
        } else {
            format!("{:024}", self.next_random())
        };
        let lite = if self.has(Fault::RestartForgetsLite) { "" } else { "a=ice-lite\r\n" };
        let ufrag = &new[12..20];
        Response::new(200)
            .header("Content-Type", "application/trickle-ice-sdpfrag")
            .header("ETag", format!("\"tag-{generation}\""))
            .body(format!(
                "{lite}a=ice-options:ice2\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{new}\r\n"
            ))
    }

    fn delete(&mut self, at: usize, request: &Request) -> Response {
        if self.has(Fault::DeleteChecksEtag) && request.header("if-match").is_some() {
            return Response::problem(412);
        }
        if !self.has(Fault::DeleteKeeps) {
            self.sessions.remove(at);
        }
        Response::new(200)
    }

    fn password(&self, of: u64) -> String {
        format!("{:024}", 4_000_000_000_000_000_000 + of)
    }

    /// xorshift: good enough for a test.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// The answer to an offer; `None` when the offer cannot be used.
fn make_answer(fault: Fault, offer: &str, password: &str) -> Option<String> {
    let mut sections = offer.split("\r\nm=");
    let session = sections.next().filter(|session| session.starts_with("v=0\r\n"))?;
    let group = session.lines().find(|line| line.starts_with("a=group:"))?;
    let mut answer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n".to_owned();
    if fault != Fault::NoBundle {
        answer += &format!("{group}\r\n");
    }
    let mut any = false;
    for (index, section) in sections.enumerate() {
        any = true;
        answer += &answer_section(fault, index, section, password)?;
    }
    any.then_some(answer)
}

fn answer_section(fault: Fault, index: usize, section: &str, password: &str) -> Option<String> {
    let mut lines = section.lines();
    let media = lines.next()?;
    media.split_whitespace().nth(2).filter(|protocol| *protocol == "UDP/TLS/RTP/SAVPF")?;
    let attributes: Vec<&str> = lines.collect();
    let value = |name: &str| attributes.iter().find_map(|line| line.strip_prefix(name));
    if value("a=ice-pwd:").is_none() || value("a=fingerprint:").is_none() {
        return None;
    }
    value("a=sendonly").or(value("a=sendrecv"))?;
    if section.contains("X-CONFORMANCE") {
        return (fault == Fault::PartialAnswer).then(|| {
            format!("m={}\r\na=mid:{index}\r\na=inactive\r\n", media.replace(" 9 ", " 0 "))
        });
    }
    let mut answer = format!("m={media}\r\n");
    for line in &attributes {
        let kept = ["a=mid", "a=rtpmap", "a=fmtp", "a=rtcp-fb", "a=rtcp-mux", "a=extmap"];
        if kept.iter().any(|start| line.starts_with(start)) {
            answer += &format!("{line}\r\n");
        }
        if let Some(rid) = line.strip_prefix("a=rid:") {
            answer += &format!("a=rid:{}\r\n", rid.replace("send", "recv"));
        }
        if let Some(layers) = line.strip_prefix("a=simulcast:send ") {
            answer += &format!("a=simulcast:recv {layers}\r\n");
        }
    }
    let setup = match value("a=setup:") {
        _ if fault == Fault::Actpass => "actpass",
        Some("passive") => "active",
        _ => "passive",
    };
    let direction = if fault == Fault::Sendrecv { "sendrecv" } else { "recvonly" };
    let mut password = password.to_owned();
    match fault {
        Fault::TwoTransports if index > 0 => password.replace_range(..1, "9"),
        Fault::ShortPassword => password.truncate(10),
        _ => {}
    }
    answer += &format!(
        "a={direction}\r\na=setup:{setup}\r\na=ice-ufrag:abcdefgh\r\na=ice-pwd:{password}\r\na=ice-options:ice2\r\n"
    );
    if fault != Fault::NoFingerprint {
        answer += &format!("a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"));
    }
    if fault != Fault::NoCandidates && index == 0 {
        answer += "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n";
    }
    match fault {
        Fault::ForeignPayload => answer = answer.replacen("SAVPF ", "SAVPF 77 ", 1),
        Fault::ForeignExtension => answer += "a=extmap:14 urn:3gpp:video-orientation\r\n",
        _ => {}
    }
    Some(answer)
}
