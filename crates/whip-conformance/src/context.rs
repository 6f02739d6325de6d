//! What the checks share: the endpoints, the first answer of each, and sessions that end when their check ends.

use std::{collections::HashMap, rc::Rc};

use url::Url;

use crate::{
    client::{Client, Exchange, Options, Request},
    offers::Template,
    publisher::Publisher,
    requirement::{Face, Stop},
    sdp::Sdp,
};

pub(crate) const SDP: &str = "application/sdp";
pub(crate) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) options: Options,
    /// URLs of all sessions so far.
    pub(crate) session_urls: Vec<(Face, Url)>,
    /// What the server supports, which several checks have to know.
    pub(crate) patches: HashMap<Face, Rc<crate::checks::whip_patch::Support>>,
    pub(crate) endings: HashMap<Face, Rc<crate::checks::connectivity::Ending>>,
    first: HashMap<Face, Result<Rc<First>, Stop>>,
    publisher: Option<Publisher>,
    publisher_tried: bool,
}

/// The first offer of the run, and its exchange. The session has already ended when a check gets this.
#[derive(Debug)]
pub(crate) struct First {
    pub(crate) offer: Sdp,
    pub(crate) exchange: Exchange,
}

/// A parsed 201 answer.
pub(crate) struct Answered {
    pub(crate) first: Rc<First>,
    pub(crate) answer: Sdp,
}

/// A session. It is ended with a DELETE when this is dropped, so that a server that allows one session at a time
/// accepts the next.
pub(crate) struct Live {
    pub(crate) url: Url,
    pub(crate) etag: Option<String>,
    pub(crate) template: Template,
    pub(crate) exchange: Exchange,
    client: Client,
    over: bool,
}

impl Context {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            client: Client::new(options),
            options: options.clone(),
            session_urls: Vec::new(),
            patches: HashMap::new(),
            endings: HashMap::new(),
            first: HashMap::new(),
            publisher: None,
            publisher_tried: false,
        }
    }

    /// Begins the checks of a protocol, with its token.
    pub(crate) fn turn_to(&mut self, face: Face) {
        self.client = self.client.speaking(face, &self.options);
    }

    pub(crate) fn endpoint(&self, face: Face) -> Url {
        match face {
            Face::Whip => self.options.whip.clone(),
            Face::Whep => self.options.whep.clone().unwrap_or_else(|| self.options.whip.clone()),
        }
    }

    /// A POST with an offer, not sent yet.
    pub(crate) fn post(&self, face: Face, offer: &str) -> Request {
        Request::new("POST", &self.endpoint(face)).header("Content-Type", SDP).body(offer)
    }

    /// Sends a POST. If it creates a session, the session is ended at once, and only the exchange is returned.
    pub(crate) fn try_offer(&mut self, face: Face, request: Request) -> Result<Exchange, Stop> {
        let exchange = self.send_offer(face, request)?;
        self.end(face, &exchange);
        Ok(exchange)
    }

    fn send_offer(&mut self, face: Face, request: Request) -> Result<Exchange, Stop> {
        self.prepare(face);
        self.client.send(request)
    }

    fn end(&mut self, face: Face, exchange: &Exchange) {
        if let Some(url) = self.session_url(face, exchange) {
            _ = self.client.send(Request::new("DELETE", &url));
        }
    }

    /// The URL of the session that an exchange created. A counter-offer (406) of WHEP creates one too.
    pub(crate) fn session_url(&mut self, face: Face, exchange: &Exchange) -> Option<Url> {
        if !matches!(exchange.status, 201 | 406) {
            return None;
        }
        let url = exchange.request.url.join(exchange.header("location")?).ok()?;
        self.session_urls.push((face, url.clone()));
        Some(url)
    }

    /// Starts a publisher before the checks of WHEP. If that fails, the checks of WHIP say why.
    pub(crate) fn prepare(&mut self, face: Face) {
        if face == Face::Whep && !self.publisher_tried {
            self.publisher_tried = true;
            self.publisher = Publisher::start(&self.options).ok();
        }
    }

    /// Whether the suite's own publisher runs.
    pub(crate) fn has_publisher(&mut self) -> bool {
        self.prepare(Face::Whep);
        self.publisher.is_some()
    }

    /// The exchange of a plain offer, which is sent only once.
    pub(crate) fn first(&mut self, face: Face) -> Result<Rc<First>, Stop> {
        if let Some(known) = self.first.get(&face) {
            return known.clone();
        }
        let made = self.make_first(face);
        self.first.insert(face, made.clone());
        made
    }

    fn make_first(&mut self, face: Face) -> Result<Rc<First>, Stop> {
        let text = Template::new(face).build();
        let offer = Sdp::parse(&text).map_err(Stop::skip)?;
        let request = self.post(face, &text).header("Origin", self.options.origin.clone());
        let exchange = self.try_offer(face, request)?;
        Ok(Rc::new(First { offer, exchange }))
    }

    /// The answer to a plain offer.
    ///
    /// # Errors
    /// Skips the check if the offer got no answer: another check reports that.
    pub(crate) fn answer(&mut self, face: Face) -> Result<Answered, Stop> {
        let first = match self.first(face) {
            Ok(first) => first,
            Err(_) => return Err(Stop::skip("the endpoint gave no answer")),
        };
        if first.exchange.status != 201 {
            return Err(Stop::skip(format!("the offer was answered {}", first.exchange.status)));
        }
        let answer = Sdp::parse(&first.exchange.text())
            .map_err(|e| Stop::skip(format!("the answer does not parse: {e}")))?;
        Ok(Answered { first, answer })
    }

    /// A session that lives until it is dropped.
    ///
    /// # Errors
    /// Skips the check if no session can be created: other checks report why.
    pub(crate) fn open(&mut self, face: Face) -> Result<Live, Stop> {
        let template = Template::new(face);
        let offer = template.build();
        self.open_with(face, template, &offer)
    }

    /// As [`Context::open`], with this offer.
    pub(crate) fn open_with(
        &mut self,
        face: Face,
        template: Template,
        offer: &str,
    ) -> Result<Live, Stop> {
        let request = self.post(face, offer);
        let exchange = self
            .send_offer(face, request)
            .map_err(|_| Stop::skip("no session: the endpoint gave no answer"))?;
        let url = self.session_url(face, &exchange);
        match url {
            Some(url) if exchange.status == 201 => Ok(Live {
                url,
                etag: exchange.header("etag").map(str::to_owned),
                template,
                exchange,
                client: self.client.clone(),
                over: false,
            }),
            Some(url) => {
                _ = self.client.send(Request::new("DELETE", &url));
                Err(Stop::skip("no session: the server made a counter-offer"))
            }
            None => Err(Stop::skip(format!(
                "no session: the offer was answered {}{}",
                exchange.status,
                if exchange.status == 201 { " without a usable Location" } else { "" }
            ))),
        }
    }
}

impl Live {
    pub(crate) fn patch(&self, if_match: Option<&str>, body: &str) -> Request {
        let request = Request::new("PATCH", &self.url).header("Content-Type", FRAGMENT).body(body);
        match if_match {
            Some(tag) => request.header("If-Match", tag),
            None => request,
        }
    }

    pub(crate) fn get(&self) -> Result<Exchange, Stop> {
        self.client.send(Request::new("GET", &self.url))
    }

    /// Ends the session now.
    pub(crate) fn delete(&mut self) -> Result<Exchange, Stop> {
        self.delete_by(Request::new("DELETE", &self.url))
    }

    /// Ends the session with this request.
    pub(crate) fn delete_by(&mut self, request: Request) -> Result<Exchange, Stop> {
        let exchange = self.client.send(request)?;
        self.over = exchange.success();
        Ok(exchange)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.over {
            _ = self.client.send(Request::new("DELETE", &self.url));
        }
    }
}
