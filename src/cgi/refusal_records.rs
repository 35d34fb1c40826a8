//! The records that end a request which no handler sees.

use http::StatusCode;

use super::put_refusal;
use crate::protocol::{put_end_of_stream, put_record, Ending, RecordType, Refusal, Refused};

/// The whole answer. Web servers make nothing good of END_REQUEST alone: an empty page with status 200, a granted
/// access, or a wait until their time is over. So whatever a client could be waiting for gets a real status.
pub(crate) fn refusal_records(refused: Refused) -> (Vec<u8>, Ending) {
    let mut records = Vec::new();
    if let Some(status) = status(refused.refusal()) {
        let mut answer = Vec::new();
        put_refusal(&mut answer, status, false);
        put_record(&mut records, RecordType::Stdout, refused.id(), &answer);
        put_end_of_stream(&mut records, RecordType::Stdout, refused.id());
    }
    let ending = refused.end_request(&mut records);
    (records, ending)
}

/// `None` where nobody waits for an answer, or where the specification has one of its own (section 5.5).
fn status(refusal: Refusal) -> Option<StatusCode> {
    match refusal {
        Refusal::Aborted | Refusal::UnknownRole => None,
        Refusal::CantMultiplex | Refusal::Overloaded => Some(StatusCode::SERVICE_UNAVAILABLE),
        Refusal::Malformed => Some(StatusCode::BAD_REQUEST),
        Refusal::Overdue => Some(StatusCode::GATEWAY_TIMEOUT),
        Refusal::ParamsTimedOut => Some(StatusCode::REQUEST_TIMEOUT),
        Refusal::ParamsTooLarge => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Refusal::UnservedAuthorizer => Some(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_status_and_protocol_status() {
        let rows = [
            (Refusal::Aborted, None, 0),
            (Refusal::CantMultiplex, Some("503"), 1),
            (Refusal::Malformed, Some("400"), 0),
            (Refusal::Overloaded, Some("503"), 2),
            (Refusal::Overdue, Some("504"), 0),
            (Refusal::ParamsTimedOut, Some("408"), 0),
            (Refusal::ParamsTooLarge, Some("431"), 0),
            (Refusal::UnknownRole, None, 3),
            (Refusal::UnservedAuthorizer, Some("500"), 3),
        ];
        for (refusal, status, protocol_status) in rows {
            let (records, _) = refusal_records(Refused::at_the_door(258, refusal));
            let (answer, end) = records.split_at(records.len() - 16);
            assert_eq!(end, [1, 3, 1, 2, 0, 8, 0, 0, 0, 0, 0, 0, protocol_status, 0, 0, 0]);
            match status {
                None => assert!(answer.is_empty()),
                Some(status) => assert_eq!(&answer[8..19], format!("Status: {status}").as_bytes()),
            }
        }
    }
}
