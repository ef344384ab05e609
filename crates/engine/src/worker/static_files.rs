//! Answers requests for static files without the application.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::time::Instant;

use pronghorn_proto::error::ApplicationError;
use pronghorn_proto::event::Outbound;
use pronghorn_proto::files::Fields;
use pronghorn_proto::files::encoding::choose;
use pronghorn_proto::files::selection::{Selection, select};
use pronghorn_proto::head::{Method, RequestHead};
use smallvec::SmallVec;

use crate::asgi::application::Level;
use crate::ffi::call::call;
use crate::ffi::error::Raised;
use crate::static_files::{Found, Resource, StaticFiles, Variant};
use crate::stream::{Flow, StreamId, Streams};
use crate::worker::Worker;

type Headers<'h> = SmallVec<[(&'static [u8], Cow<'h, [u8]>); 8]>;

/// An answer that is ready to be sent.
struct Answer<'f> {
    status: u16,
    headers: Headers<'f>,
    body: Body<'f>,
    length: u64,
}

enum Body<'f> {
    Text(&'static [u8]),
    Part(&'f Variant, Range<u64>),
    /// What precedes each part, the parts, and what follows the last.
    Parts(&'f Variant, Vec<(Vec<u8>, Range<u64>)>, Vec<u8>),
}

impl Worker {
    /// Answers a request if its path is below a route of static files. Says whether it was.
    pub(super) fn serve_static(
        &self,
        id: StreamId,
        head: &RequestHead,
        source: &[u8],
    ) -> Result<bool, Raised> {
        let Some(files) = &self.static_files else { return Ok(false) };
        let path = head.path.of(source);
        if !files.covers(path) || self.is_at_limit(path) {
            return Ok(false);
        }
        let resource;
        let answer = match self.find(files, head.method, path) {
            Err(status) => Answer::of_status(status),
            Ok(Found::Nothing) => Answer::of_status(404),
            Ok(Found::Directory) => {
                Answer::of_status(301).with(b"location", self.with_slash(head, source))
            }
            Ok(Found::File(found)) => {
                resource = found;
                resource.answer(head.method, &Fields::of(head, source))
            }
        };
        self.log_static(id, head, source, &answer)?;
        if self.send_static(id, answer).is_ok() {
            self.count_answer();
        } else {
            self.abort(id);
        }
        Ok(true)
    }

    fn find(&self, files: &StaticFiles, method: Method, path: &[u8]) -> Result<Found, u16> {
        if !matches!(method, Method::Get | Method::Head) {
            return Err(405);
        }
        files.find(path, Instant::now()).map_err(|error| self.cannot_open(path, &error))
    }

    fn cannot_open(&self, path: &[u8], error: &io::Error) -> u16 {
        let path = String::from_utf8_lossy(path);
        self.application
            .log(Level::Error, &format!("The static file at `{path}` cannot be read: {error}."));
        500
    }

    /// The request's own target as the client sees it, with a slash at the end of its path.
    fn with_slash(&self, head: &RequestHead, source: &[u8]) -> Vec<u8> {
        let mut location = self.application.scopes.root_path().to_vec();
        location.extend_from_slice(head.path.of(source));
        location.push(b'/');
        let query = head.query.of(source);
        if !query.is_empty() {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        location
    }

    /// The access log is written from a scope, as that of any other request.
    fn log_static(
        &self,
        id: StreamId,
        head: &RequestHead,
        source: &[u8],
        answer: &Answer<'_>,
    ) -> Result<(), Raised> {
        let Some(log) = &self.application.access_log else { return Ok(()) };
        let origin = self.origin(id.connection)?;
        let scope = self.application.scopes.make(head, source, &origin)?;
        if head.forwarded
            && let Some(trust_proxy) = &self.trust_proxy
        {
            call(trust_proxy, &[&scope])?;
        }
        let entry = log.response_started(scope, log.request_begun(), answer.status, None);
        if let Some(mut entry) = entry {
            let has_body = head.method != Method::Head && answer.status != 304;
            entry.add_bytes(if has_body { answer.length } else { 0 });
            log.response_ended(entry);
        }
        Ok(())
    }

    fn send_static(&self, id: StreamId, answer: Answer<'_>) -> Result<(), ApplicationError> {
        let mut digits = itoa::Buffer::new();
        let fields = answer.headers.iter().map(|(name, value)| (*name, &**value));
        let mut headers: SmallVec<[(&[u8], &[u8]); 10]> = fields.collect();
        if answer.status != 304 {
            headers.push((b"content-length", digits.format(answer.length).as_bytes()));
        }
        self.submit(id, &Outbound::Start { status: answer.status, headers: &headers })?;
        match answer.body {
            Body::Text(data) => {
                self.submit(id, &Outbound::Body { data: data.into(), more: false })?
            }
            Body::Part(variant, part) => self.send_part(id, variant, part, false)?,
            Body::Parts(variant, parts, end) => {
                for (lead, part) in parts {
                    self.submit(id, &Outbound::Body { data: lead[..].into(), more: true })?;
                    self.send_part(id, variant, part, true)?;
                }
                self.submit(id, &Outbound::Body { data: end[..].into(), more: false })?
            }
        };
        Ok(())
    }

    fn send_part(
        &self,
        id: StreamId,
        variant: &Variant,
        part: Range<u64>,
        more: bool,
    ) -> Result<Flow, ApplicationError> {
        let length = part.end - part.start;
        if let Some(file) = variant.on_disk(part.start, length) {
            return self.submit_file(id, file, more);
        }
        let content = variant.in_memory().map(|content| &content[..]).unwrap_or_default();
        // It is as long as its file was when the part was chosen.
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
        let data = &content[index(part.start)..index(part.end)];
        self.submit(id, &Outbound::Body { data: data.into(), more })
    }
}

impl<'f> Answer<'f> {
    /// A short text in place of a file.
    fn of_status(status: u16) -> Self {
        let text = pronghorn_proto::http1::reason_phrase(status).as_bytes();
        let (headers, length) = (Headers::new(), text.len() as u64);
        let answer = Answer { status, headers, body: Body::Text(text), length };
        let answer = answer.with(b"content-type", &b"text/plain; charset=utf-8"[..]);
        if status == 405 { answer.with(b"allow", &b"GET, HEAD"[..]) } else { answer }
    }

    fn with(mut self, name: &'static [u8], value: impl Into<Cow<'f, [u8]>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Resource {
    /// What a GET or HEAD gets of it.
    fn answer(&self, method: Method, fields: &Fields<'_>) -> Answer<'_> {
        let (coding, variant) = self.variant(fields);
        match select(method, fields, &variant.validators()) {
            Selection::Whole => self.part(coding, variant, 200, 0..variant.length()),
            Selection::NotModified => {
                let headers = self.headers(variant);
                Answer { status: 304, headers, body: Body::Text(b""), length: 0 }
            }
            Selection::PreconditionFailed => Answer::of_status(412),
            Selection::Unsatisfiable => {
                let range = format!("bytes */{}", variant.length());
                Answer::of_status(416).with(b"content-range", range.into_bytes())
            }
            Selection::Parts(mut parts) if parts.len() == 1 => {
                let part = parts.remove(0);
                let range = range_text(&part, variant.length());
                self.part(coding, variant, 206, part).with(b"content-range", range)
            }
            Selection::Parts(parts) => self.parts(coding, variant, parts),
        }
    }

    /// The form that suits the client, and the name of its encoding.
    fn variant(&self, fields: &Fields<'_>) -> (Option<&'static [u8]>, &Variant) {
        let codings: SmallVec<[&[u8]; 2]> =
            self.encoded.iter().map(|(coding, _)| *coding).collect();
        match choose(&fields.accept_encoding, &codings).and_then(|index| self.encoded.get(index)) {
            Some((coding, variant)) => (Some(*coding), variant),
            None => (None, &self.plain),
        }
    }

    /// The fields that every answer about a form of it has.
    fn headers<'f>(&self, variant: &'f Variant) -> Headers<'f> {
        let mut headers = Headers::new();
        headers.push((b"etag", variant.etag.as_slice().into()));
        headers.push((b"last-modified", variant.last_modified.as_slice().into()));
        if !self.encoded.is_empty() {
            headers.push((b"vary", b"accept-encoding".as_slice().into()));
        }
        headers
    }

    fn with_body<'f>(
        &self,
        coding: Option<&'static [u8]>,
        variant: &'f Variant,
        answer: Answer<'f>,
    ) -> Answer<'f> {
        let mut headers = self.headers(variant);
        headers.extend(answer.headers);
        let answer = Answer { headers, ..answer }.with(b"accept-ranges", &b"bytes"[..]);
        match coding {
            Some(coding) => answer.with(b"content-encoding", coding),
            None => answer,
        }
    }

    /// All of it, or one part.
    fn part<'f>(
        &'f self,
        coding: Option<&'static [u8]>,
        variant: &'f Variant,
        status: u16,
        part: Range<u64>,
    ) -> Answer<'f> {
        let length = part.end - part.start;
        let body = Body::Part(variant, part);
        let answer = Answer { status, headers: Headers::new(), body, length };
        self.with_body(coding, variant, answer.with(b"content-type", &self.content_type[..]))
    }

    /// Several parts (RFC 9110, 14.6).
    fn parts<'f>(
        &'f self,
        coding: Option<&'static [u8]>,
        variant: &'f Variant,
        parts: Vec<Range<u64>>,
    ) -> Answer<'f> {
        let boundary = boundary();
        let content_type = String::from_utf8_lossy(&self.content_type);
        let mut length = 0;
        let mut lead = format!("--{boundary}");
        let mut introduced = Vec::with_capacity(parts.len());
        for part in parts {
            let range = range_text(&part, variant.length());
            let range = String::from_utf8_lossy(&range);
            let lines = format!("\r\ncontent-type: {content_type}\r\ncontent-range: {range}");
            let introduction = [&lead, &*lines, "\r\n\r\n"].concat().into_bytes();
            length += introduction.len() as u64 + (part.end - part.start);
            introduced.push((introduction, part));
            lead = format!("\r\n--{boundary}");
        }
        let end = format!("{lead}--\r\n").into_bytes();
        length += end.len() as u64;
        let body = Body::Parts(variant, introduced, end);
        let answer = Answer { status: 206, headers: Headers::new(), body, length };
        let content_type = format!("multipart/byteranges; boundary={boundary}").into_bytes();
        self.with_body(coding, variant, answer.with(b"content-type", content_type))
    }
}

fn range_text(part: &Range<u64>, length: u64) -> Vec<u8> {
    format!("bytes {}-{}/{length}", part.start, part.end - 1).into_bytes()
}

/// What stands between parts: nothing that a file could be made to hold in advance.
fn boundary() -> String {
    // Seeded by the system's random numbers.
    let random = || RandomState::new().hash_one(0);
    format!("{:016x}{:016x}", random(), random())
}
