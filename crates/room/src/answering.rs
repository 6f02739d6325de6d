//! What the answer says about each section of the offer, and what is stored of the offer to check the next one.

use std::sync::Arc;

use model::{DownMedia, ExtensionMap, Pt, UpMedia};
use sdp::codecs::Meaning;
use sdp::{AcceptedSection, AnswerSection, Offer, RidAnswer, Section, Sending};

use crate::agreement::{AgreedSection, Agreement};
use crate::data::ChosenData;
use crate::media::{Chosen, layers};
use crate::negotiate::Negotiation;

impl Negotiation<'_, '_> {
    pub(crate) fn answer_sections(
        &self,
        offer: &Offer,
        chosen: &[Chosen<'_>],
        data: Option<&ChosenData<'_>>,
        extensions: &ExtensionMap,
        up: &[UpMedia],
        slots: &[(&DownMedia, usize)],
    ) -> Vec<AnswerSection> {
        let mut answered = Vec::with_capacity(offer.sections.len());
        for section in &offer.sections {
            if let Some(data) = data.filter(|data| data.section.number == section.number) {
                answered.push(data.answer(offer));
                continue;
            }
            let Some(c) = chosen.iter().find(|c| c.section.number == section.number) else {
                answered.push(AnswerSection::Rejected {
                    kind: section.kind.as_str().to_owned(),
                    protocol: section.protocol.clone(),
                    formats: section.formats.clone(),
                    mid: section.mid.and_then(|mid| offer.mid_text(mid)),
                });
                continue;
            };
            let sending = slots.iter().find(|(d, _)| d.mid == c.mid).map(|(d, place)| {
                Sending {
                    ssrc: d.ssrc,
                    cname: self.config.cname.clone(),
                    // The nth audio slot and the nth video slot always carry the same participant (slots.rs), so they
                    // share a MediaStream.
                    stream: format!("s{place}"),
                    track: format!("{}{place}", d.kind.as_str()),
                }
            });
            let receives = up.iter().any(|u| u.mid == c.mid);
            answered.push(AnswerSection::Accepted(Box::new(AcceptedSection {
                mid: offer.mid_text(c.mid),
                protocol: section.protocol.clone(),
                direction: c.direction,
                codecs: c.codecs.clone(),
                extensions: self.answer_extensions(section, extensions),
                rids: if receives { answer_rids(c, extensions) } else { Vec::new() },
                simulcast: section.simulcast.is_some(),
                rtcp_mux_only: section.rtcp_mux_only,
                rtcp_rsize: section.rtcp_rsize,
                // RFC 8285 section 6: the answer has it only if the offer has it.
                extmap_allow_mixed: section.extmap_allow_mixed,
                sending,
            })));
        }
        answered
    }
}

/// What is stored of the sections of an offer, to check later offers. Former meanings of payload types are kept.
pub(crate) fn agreed_sections(
    offer: &Offer,
    chosen: &[Chosen<'_>],
    data: Option<&ChosenData<'_>>,
    before: Option<&Agreement>,
) -> Arc<[AgreedSection]> {
    let agreed = |(at, section): (usize, &Section)| {
        let chosen = chosen.iter().find(|c| c.section.number == section.number);
        let mut payloads = chosen.map(|c| c.meanings.clone());
        if let (Some(payloads), Some(before)) = (&mut payloads, before.filter(|b| b.keeps(section)))
        {
            let known = before.sections.get(at).map_or(&[][..], |old| &old.payloads);
            let gone = |(pt, _): &&(Pt, Meaning)| payloads.iter().all(|(known, _)| known != pt);
            let gone: Vec<_> = known.iter().filter(gone).copied().collect();
            payloads.extend(gone);
        }
        AgreedSection {
            mid: section.mid,
            mid_text: section.mid_text.clone(),
            kind: section.kind.as_str().to_owned(),
            free: chosen.is_none() && data.is_none_or(|d| d.section.number != section.number),
            slides: section.slides,
            payloads: payloads.unwrap_or_default(),
        }
    };
    offer.sections.iter().enumerate().map(agreed).collect()
}

fn answer_rids(c: &Chosen<'_>, extensions: &ExtensionMap) -> Vec<RidAnswer> {
    let answer = |rid: &sdp::attributes::RidLine| {
        let agreed = |pt: &&model::Pt| c.codecs.iter().any(|codec| codec.pt == **pt);
        let pts: Vec<String> =
            rid.payload_types.iter().filter(agreed).map(ToString::to_string).collect();
        let mut restrictions = String::new();
        if !pts.is_empty() {
            restrictions = format!("pt={}", pts.join(","));
        }
        if !rid.restrictions.is_empty() {
            if !restrictions.is_empty() {
                restrictions.push(';');
            }
            restrictions.push_str(&rid.restrictions);
        }
        RidAnswer { id: rid.id, restrictions }
    };
    layers(c, extensions).into_iter().map(answer).collect()
}
