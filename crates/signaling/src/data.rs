//! Data messages between the forms that they have in data channels and in rooms. [`model::data::ENVELOPE_PROTOCOL`] says what an
//! envelope is.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use model::{DataReceived, DataToSend, ParticipantId, Payload};
use room::DataRequest;
use serde::{Deserialize, Serialize};

/// Most receivers that an envelope may name.
pub const TO_MAX: usize = 100;

/// Why a message of a data channel is refused. It is dropped and counted: data channels have no way to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The label of the channel is empty or too long to be a topic.
    Topic,
    /// The envelope is not of the form that it should have.
    Malformed,
    /// More than [`TO_MAX`] receivers.
    TooManyReceivers,
    /// A receiver's name is none that a member can have.
    Receiver,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Topic => "the label of the channel is no topic; 1 to 128 bytes are allowed",
            Refused::Malformed => "the envelope does not parse",
            Refused::TooManyReceivers => "the envelope names more than 100 receivers",
            Refused::Receiver => "a receiver's name is none that a member can have",
        })
    }
}

/// What a member puts into an envelope. Other fields are ignored, so that later versions may add some.
#[derive(Deserialize)]
struct FromMember<'a> {
    #[serde(borrow, default)]
    to: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

/// What a member gets in an envelope.
#[derive(Serialize)]
struct ToMember<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

/// What the room is asked, by a message that came in a data channel.
///
/// # Errors
/// [`Refused`].
pub fn request(received: &DataReceived) -> Result<DataRequest, Refused> {
    let (to, payload) = match (&received.payload, received.enveloped) {
        (payload, false) => (None, payload.clone()),
        (Payload::Text(text), true) => {
            let envelope: FromMember<'_> =
                serde_json::from_str(text).map_err(|_| Refused::Malformed)?;
            let text = envelope.text.ok_or(Refused::Malformed)?;
            (receivers(envelope.to)?, Payload::Text(Arc::from(&*text)))
        }
        (Payload::Binary(bytes), true) => {
            let (header, payload) = split(bytes).ok_or(Refused::Malformed)?;
            let envelope: FromMember<'_> =
                serde_json::from_slice(header).map_err(|_| Refused::Malformed)?;
            (receivers(envelope.to)?, Payload::Binary(payload.into()))
        }
    };
    let delivery = received.delivery;
    let request = DataRequest { topic: Arc::clone(&received.topic), to, delivery, payload };
    if request.has_valid_topic() { Ok(request) } else { Err(Refused::Topic) }
}

/// A message as it goes into the data channels of its receivers. Made once, whatever their number.
pub fn to_send(from: Option<&ParticipantId>, request: &DataRequest) -> DataToSend {
    DataToSend {
        topic: Arc::clone(&request.topic),
        delivery: request.delivery,
        enveloped: enveloped(from, &request.payload),
        plain: request.payload.clone(),
    }
}

fn enveloped(from: Option<&ParticipantId>, payload: &Payload) -> Payload {
    let from = from.map(ParticipantId::as_str);
    let text = match payload {
        Payload::Text(text) => Some(&**text),
        Payload::Binary(_) => None,
    };
    // A structure of texts always becomes JSON.
    let header = serde_json::to_string(&ToMember { from, text }).unwrap_or_default();
    match payload {
        Payload::Text(_) => Payload::Text(header.into()),
        Payload::Binary(bytes) => {
            let len = (header.len() as u16).to_be_bytes();
            Payload::Binary([&len[..], header.as_bytes(), bytes].concat().into())
        }
    }
}

/// The JSON object and the payload of a binary envelope.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

fn receivers(to: Option<Vec<Cow<'_, str>>>) -> Result<Option<Vec<ParticipantId>>, Refused> {
    let Some(names) = to else { return Ok(None) };
    if names.len() > TO_MAX {
        return Err(Refused::TooManyReceivers);
    }
    let parse = |name: &Cow<'_, str>| ParticipantId::parse(name).map_err(|_| Refused::Receiver);
    names.iter().map(parse).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use model::Delivery;

    use super::*;

    fn received(payload: Payload, enveloped: bool) -> DataReceived {
        DataReceived { topic: "chat".into(), enveloped, delivery: Delivery::Lossy, payload }
    }

    fn text(text: &str) -> Payload {
        Payload::Text(text.into())
    }

    fn binary(header: &str, payload: &[u8]) -> Payload {
        let len = (header.len() as u16).to_be_bytes();
        Payload::Binary([&len[..], header.as_bytes(), payload].concat().into())
    }

    fn ask(payload: Payload) -> Result<(Option<Vec<String>>, Payload), Refused> {
        request(&received(payload, true)).map(|request| {
            let names = |to: Vec<ParticipantId>| to.iter().map(ToString::to_string).collect();
            (request.to.map(names), request.payload)
        })
    }

    #[test]
    fn envelopes_of_members_are_read() {
        let bob = Some(vec!["bob".to_owned()]);
        assert_eq!(ask(text(r#"{"to":["bob"],"text":"hello"}"#)), Ok((bob.clone(), text("hello"))));
        assert_eq!(ask(text(r#"{"text":"a\"bä"}"#)), Ok((None, text("a\"bä"))));
        assert_eq!(ask(text(r#"{"text":"","to":null,"new":{"x":1}}"#)), Ok((None, text(""))));
        let bytes = Payload::Binary([1, 2][..].into());
        assert_eq!(ask(binary(r#"{"to":["bob"]}"#, &[1, 2])), Ok((bob, bytes.clone())));
        assert_eq!(ask(binary("{}", &[1, 2])), Ok((None, bytes)));
        let plain = request(&received(text("{}"), false)).unwrap();
        assert_eq!((plain.to, plain.payload, plain.delivery), (None, text("{}"), Delivery::Lossy));
    }

    #[test]
    fn wrong_envelopes_are_refused_and_each_refusal_says_why() {
        for wrong in ["", "hello", "[]", "{}", r#"{"text":1}"#, r#"{"to":"bob","text":"x"}"#] {
            assert_eq!(ask(text(wrong)), Err(Refused::Malformed), "{wrong}");
        }
        for wrong in [&[][..], &[0], &[0, 9, b'{', b'}'], &[0, 0], &[0, 2, b'{', b'x']] {
            assert_eq!(ask(Payload::Binary(wrong.into())), Err(Refused::Malformed), "{wrong:?}");
        }
        let names = |count: usize| vec!["\"bob\""; count].join(",");
        let to = |count| ask(text(&format!(r#"{{"to":[{}],"text":"x"}}"#, names(count))));
        assert_eq!(to(TO_MAX).unwrap().0.unwrap().len(), TO_MAX);
        assert_eq!(to(TO_MAX + 1), Err(Refused::TooManyReceivers));
        assert_eq!(ask(text(r#"{"to":["a b"],"text":"x"}"#)), Err(Refused::Receiver));
        let deep = "[".repeat(60_000);
        assert_eq!(ask(text(&format!(r#"{{"x":{deep}"#))), Err(Refused::Malformed));
        for topic in ["", &"x".repeat(129)] {
            let message = DataReceived { topic: topic.into(), ..received(text("x"), false) };
            assert_eq!(request(&message), Err(Refused::Topic));
        }
    }

    #[test]
    fn messages_to_members_name_the_sender() {
        let ann = ParticipantId::parse("ann").unwrap();
        let of = |payload| DataRequest {
            topic: "chat".into(),
            to: None,
            delivery: Delivery::Reliable,
            payload,
        };
        let sent = to_send(Some(&ann), &of(text("a\"b")));
        assert_eq!(sent.enveloped, text(r#"{"from":"ann","text":"a\"b"}"#));
        assert_eq!(sent.plain, text("a\"b"));
        assert_eq!(to_send(None, &of(text("x"))).enveloped, text(r#"{"text":"x"}"#));
        let bytes = Payload::Binary([7, 8][..].into());
        let sent = to_send(Some(&ann), &of(bytes.clone()));
        assert_eq!((sent.enveloped, sent.plain), (binary(r#"{"from":"ann"}"#, &[7, 8]), bytes));
    }
}
