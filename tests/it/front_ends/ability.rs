//! What some web servers cannot do.

use super::FrontEnd;

/// Each belongs to one case. Without the ability the case checks what happens instead, unless that is a matter of chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ability {
    /// A chunked body may be longer than [`super::bodies::SHORT`] bytes.
    TakeLongChunkedBodies,
    /// Pieces of an answer arrive as they are made.
    StreamAnswers,
    /// A request reaches the application while its body is still on its way.
    StreamUploads,
    /// An answer is sure to arrive before all of the request's body has been sent.
    AnswerEarly,
    /// When the answer is there before the body has been read, the rest of the body is read, and the client's connection
    /// stays in use.
    ReadOnAfterTheAnswer,
    /// An answer of unknown length that was cut short does not look whole.
    ShowCutAnswers,
    /// The application hears of a client that leaves before the answer has begun.
    TellOfClientsThatWait,
    /// Connections to the application are used again.
    KeepConnections,
    /// Many requests at once are on one connection.
    Multiplex,
    /// Many requests at once are all answered by the application.
    ServeManyAtOnce,
    /// A process is sent more requests than it has workers and places in its queue.
    SendTooMany,
    /// The client's connection stays in use after the answer to HEAD.
    KeepClientsAfterHead,
    /// What is written to STDERR is in the log.
    LogStderr,
}

/// What several web servers do instead.
pub(super) const ANEW: (Ability, &str) = (Ability::KeepConnections, "yes, on a connection for each");
pub(super) const SINGLY: (Ability, &str) = (Ability::Multiplex, "one at a time on each connection");
pub(super) const UNAWARE: (Ability, &str) = (Ability::TellOfClientsThatWait, "unnoticed: the handler works to its end");
pub(super) const COLLECTS_UPLOADS: (Ability, &str) =
    (Ability::StreamUploads, "ends unseen: uploads are collected first");
pub(super) const ANSWERS_UPLOADS_LATE: (Ability, &str) =
    (Ability::AnswerEarly, "yes, when all of the body has been sent");
pub(super) const HIDES_CUTS: (Ability, &str) =
    (Ability::ShowCutAnswers, "may look whole unless its length was declared");

impl Ability {
    /// The case in which it is seen.
    pub(super) fn case(self) -> &'static str {
        match self {
            Ability::TakeLongChunkedBodies => "a_chunked_upload_arrives_byte_for_byte",
            Ability::StreamAnswers => "lines_arrive_as_they_are_made",
            Ability::StreamUploads => "a_client_that_leaves_in_mid_upload_ends_its_request",
            Ability::AnswerEarly | Ability::ReadOnAfterTheAnswer => "an_answer_to_an_unread_body_arrives",
            Ability::ShowCutAnswers => "an_answer_that_is_cut_short_does_not_look_whole",
            Ability::TellOfClientsThatWait => "a_client_that_leaves_while_it_waits_cancels_its_request",
            Ability::KeepConnections => "three_hundred_requests_in_turn_are_not_mixed",
            Ability::Multiplex => "requests_at_once_share_a_connection",
            Ability::ServeManyAtOnce => "forty_requests_at_once_are_not_mixed",
            Ability::SendTooMany => "a_request_too_many_gets_503",
            Ability::KeepClientsAfterHead => "answers_without_a_body_leave_the_connection_in_step",
            Ability::LogStderr => "stderr_reaches_the_log",
        }
    }
}

impl FrontEnd {
    pub(super) fn can(&self, ability: Ability) -> bool {
        self.cannot.iter().all(|(missing, _)| *missing != ability)
    }
}
