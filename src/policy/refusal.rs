//! Why a connection was refused before its 101: one enum, one table of status, word and code.

use std::time::Duration;

use crate::ws::call::CallError;
use crate::ws::head::HeadError;
use crate::ws::opening::{OpeningError, ResponseError};

/// What a refused client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This HTTP status.
    Status(u16),
    /// Nothing: the connection is closed unheard.
    Drop,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal => $answer:expr,)+) => {
        /// Why a connection was refused. The code is the log field, the metric label, the anchor in docs/reasons.md
        /// and what an `[[example]]` expects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable word for it.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// What the client gets.
            pub fn answer(self) -> Answer {
                use Answer::{Drop, Status};
                match self {
                    $(Self::$variant => $answer,)+
                }
            }

            /// One sentence for an operator.
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

reasons! {
    // Accept
    /// The gateway has no free connection slot (`[capacity] pending` or `sessions`).
    GatewayFull = "gateway_full" => Drop,
    /// The address is in a denied network, or in none of the allowed ones (`[address] deny`, `allow`, `wsgate deny`).
    AddressDenied = "address_denied" => Drop,
    /// The address connects faster than `[address] connects` allows.
    AddressConnectRate = "address_connect_rate" => Drop,
    /// The address has too many connections that are not yet admitted (`[address] pending`).
    AddressPending = "address_pending" => Drop,
    /// The address has too many live sessions over all policies (`[address] sessions`).
    AddressSessionsHard = "address_sessions_hard" => Drop,
    /// The listener expects a PROXY protocol header and the connection did not begin with one in time.
    ProxyHeaderMissing = "proxy_header_missing" => Drop,
    /// The PROXY protocol header was malformed or too long.
    ProxyHeaderInvalid = "proxy_header_invalid" => Drop,
    /// The listener is behind a proxy and the connection came from an address that is not in `trusted`.
    ProxyUntrusted = "proxy_untrusted" => Drop,
    /// The listener expects X-Forwarded-For and the request had none that names a client.
    ForwardedForMissing = "forwarded_for_missing" => Status(400),

    // TLS
    /// Too many handshakes were under way for too long (`[capacity] handshakes`, `[admission] queue`). Answered where there
    /// is room to answer, else the connection is closed unheard.
    HandshakeQueue = "handshake_queue" => Status(503),
    /// The TLS handshake did not finish in time.
    TlsTimeout = "tls_timeout" => Drop,
    /// The TLS handshake failed.
    TlsFailed = "tls_failed" => Drop,
    /// The client spoke plain HTTP to the TLS port.
    PlainHttp = "plain_http" => Status(400),

    // Head
    /// The request head was not complete in time.
    HeadTimeout = "head_timeout" => Status(408),
    /// The client ended its stream before its request head was complete.
    HeadIncomplete = "head_incomplete" => Drop,
    /// The request head broke the grammar of RFC 9112.
    HeadMalformed = "head_malformed" => Status(400),
    /// The request head was longer, or had more fields, than the gateway reads.
    HeadTooLarge = "head_too_large" => Status(431),
    /// The request target was longer than the gateway reads.
    TargetTooLong = "target_too_long" => Status(414),
    /// The request was not HTTP/1.1.
    HttpVersion = "http_version" => Status(505),

    // Opening handshake
    /// The method was not GET (RFC 6455 section 4.2.1).
    MethodNotAllowed = "method_not_allowed" => Status(405),
    /// The request target was not a canonical origin-form path.
    TargetNotCanonical = "target_not_canonical" => Status(400),
    /// Host was missing, repeated or malformed (RFC 9112 section 3.2).
    HostInvalid = "host_invalid" => Status(400),
    /// There was no Upgrade header: not a WebSocket handshake.
    UpgradeMissing = "upgrade_missing" => Status(426),
    /// Upgrade was not exactly `websocket`.
    UpgradeInvalid = "upgrade_invalid" => Status(400),
    /// A call to /.wsgate/ was neither POST nor OPTIONS.
    CallMethod = "call_method" => Status(405),
    /// A call to /.wsgate/ did not say `path=PATH`, for a renewal with `session=ID` beside it, in its query.
    CallMalformed = "call_malformed" => Status(400),
    /// Connection lacked the token `upgrade`, or named a field that may not be removed.
    ConnectionInvalid = "connection_invalid" => Status(400),
    /// Sec-WebSocket-Version was not 13 (RFC 6455 section 4.4).
    VersionUnsupported = "version_unsupported" => Status(426),
    /// Sec-WebSocket-Version came more than once.
    VersionRepeated = "version_repeated" => Status(400),
    /// Sec-WebSocket-Key was missing, repeated or not 16 bytes of canonical base64.
    KeyInvalid = "key_invalid" => Status(400),
    /// The handshake carried a body (Content-Length or Transfer-Encoding).
    BodyPresent = "body_present" => Status(400),
    /// The handshake carried Expect.
    ExpectPresent = "expect_present" => Status(417),
    /// Bytes came after the head and before the 101.
    EarlyBytes = "early_bytes" => Status(400),
    /// Sec-WebSocket-Protocol was malformed or named a subprotocol twice.
    SubprotocolsMalformed = "subprotocols_malformed" => Status(400),
    /// Sec-WebSocket-Extensions was malformed.
    ExtensionsMalformed = "extensions_malformed" => Status(400),
    /// Origin came more than once.
    OriginRepeated = "origin_repeated" => Status(400),
    /// `wsgate_session` came twice, is no UUID, or came beside a ticket, which names its session.
    SessionIdMalformed = "session_id_malformed" => Status(400),
    /// A header name holds an underscore and could be taken for another one by the service behind.
    HeaderAmbiguous = "header_ambiguous" => Status(400),

    // Screen
    /// No policy serves this host.
    HostNotServed = "host_not_served" => Status(421),
    /// Host differs from the name in the TLS handshake.
    HostNotSni = "host_not_sni" => Status(421),
    /// No policy serves this path on this host.
    PathNotServed = "path_not_served" => Status(404),
    /// The address is in a network that the policy denies, or in none that it allows.
    NetworkNotAllowed = "network_not_allowed" => Status(403),
    /// There was no Origin, and the policy refuses that.
    OriginMissing = "origin_missing" => Status(403),
    /// The Origin is not in the policy's list.
    OriginNotAllowed = "origin_not_allowed" => Status(403),
    /// The browser said that this is not a WebSocket request of a page (Sec-Fetch-Mode).
    FetchMetadata = "fetch_metadata" => Status(403),
    /// None of the offered subprotocols is in the policy's list.
    SubprotocolNotAllowed = "subprotocol_not_allowed" => Status(403),

    // Limits before the signature
    /// The address spent its budget of failed attempts (`[address] failures`).
    AddressFailures = "address_failures" => Status(429),
    /// The address has too many live sessions on this policy (`[limits] connections_per_address`).
    AddressSessions = "address_sessions" => Status(429),
    /// The gateway admits sessions more slowly than they come (`[capacity] admissions`).
    AdmissionPace = "admission_pace" => Status(503),
    /// The gateway has no free session (`[capacity] sessions`).
    GatewaySessions = "gateway_sessions" => Status(503),

    // Credential
    /// No credential came.
    CredentialMissing = "credential_missing" => Status(401),
    /// Two explicit credentials came at once.
    CredentialAmbiguous = "credential_ambiguous" => Status(400),
    /// The credential was not of the form its place demands.
    CredentialMalformed = "credential_malformed" => Status(401),
    /// The token was longer than the gateway reads.
    TokenTooLong = "token_too_long" => Status(401),
    /// The token was not a JWT in compact form with strict base64url and JSON.
    TokenMalformed = "token_malformed" => Status(401),
    /// The token's algorithm is not the one its key is bound to.
    TokenAlgorithm = "token_algorithm" => Status(401),
    /// The token's header demands an extension, or a type, that is not accepted.
    TokenHeader = "token_header" => Status(401),
    /// No key of the issuer fits the token's key id.
    TokenKeyUnknown = "token_key_unknown" => Status(401),
    /// The signature is wrong.
    TokenSignature = "token_signature" => Status(401),
    /// A registered claim is missing or of the wrong type.
    TokenClaimInvalid = "token_claim_invalid" => Status(401),
    /// The token has expired.
    TokenExpired = "token_expired" => Status(401),
    /// The token is not valid yet.
    TokenNotYetValid = "token_not_yet_valid" => Status(401),
    /// The token lives longer than the policy allows.
    TokenLifeTooLong = "token_life_too_long" => Status(401),
    /// The token's issuer is not the policy's.
    TokenIssuer = "token_issuer" => Status(401),
    /// The token is for another audience.
    TokenAudience = "token_audience" => Status(401),
    /// The query token is not in the policy's file.
    TokenUnknown = "token_unknown" => Status(401),
    /// The token, or every token of its subject that was issued so far, was revoked.
    CredentialRevoked = "credential_revoked" => Status(401),
    /// The address, the policy or the session was revoked.
    AccessRevoked = "access_revoked" => Status(403),
    /// The ticket was not sold here, was used, is too old, or is for another route, path or Origin.
    TicketUnknown = "ticket_unknown" => Status(401),
    /// Keys or tokens could not be read when the gateway needed them.
    KeysUnavailable = "keys_unavailable" => Status(503),
    /// The token lacks a claim that the policy requires.
    ClaimRequired = "claim_required" => Status(403),

    // Calls to the gateway itself
    /// The policy takes no tickets (`[[auth]] by = "ticket"`).
    TicketsNotSold = "tickets_not_sold" => Status(404),
    /// The subject or the address has too many tickets that it did not use.
    TicketsUnused = "tickets_unused" => Status(429),
    /// The gateway keeps as many unused tickets as it may.
    TicketsFull = "tickets_full" => Status(503),
    /// No session of this id, route and subject is here.
    UnknownSession = "unknown_session" => Status(404),
    /// Another live session has the id that `wsgate_session` names.
    SessionIdTaken = "session_id_taken" => Status(409),

    // Limits after the signature
    /// The subject opens sessions faster than the policy allows (`[limits] handshakes_per_subject`).
    SubjectRate = "subject_rate" => Status(429),
    /// The subject has too many live sessions (`[limits] connections_per_subject`).
    SubjectSessions = "subject_sessions" => Status(429),
    /// The route has no free session (`[limits] connections`).
    RouteSessions = "route_sessions" => Status(503),
    /// Another policy took the handshake's place while it was under way: it may be tried again.
    PolicyReplaced = "policy_replaced" => Status(503),
    /// The whole admission took too long.
    AdmissionTimeout = "admission_timeout" => Status(503),

    // Upstream
    /// Every server of the route is at its cap (`[upstream] connections_per_server`).
    BackendFull = "backend_full" => Status(503),
    /// Every server of the route is down by its checks, or failed on end and is left alone for a while (`[upstream]
    /// health`, `eject`); or the server that took the handshake went down meanwhile (`down = "close"`).
    BackendDown = "backend_down" => Status(503),
    /// The server that took the handshake was taken out of its policy meanwhile (`[upstream] removed`): it may be tried
    /// again.
    BackendRemoved = "backend_removed" => Status(503),
    /// No server of the route could be connected to.
    BackendUnreachable = "backend_unreachable" => Status(502),
    /// The gateway had no descriptor, port or memory left to reach the server.
    BackendNoSocket = "backend_no_socket" => Status(503),
    /// The server did not accept a connection in time.
    BackendConnectTimeout = "backend_connect_timeout" => Status(504),
    /// TLS with the server failed.
    BackendTls = "backend_tls" => Status(502),
    /// The server did not answer the handshake in time.
    BackendHandshakeTimeout = "backend_handshake_timeout" => Status(504),
    /// The server closed the connection before it answered the handshake.
    BackendClosed = "backend_closed" => Status(502),
    /// The server's answer was no valid 101 (RFC 6455 section 4.1).
    BackendHandshakeInvalid = "backend_handshake_invalid" => Status(502),
    /// The server answered the handshake with another status.
    BackendRefused = "backend_refused" => Status(502),
    /// The server answered 401: it judges for itself.
    BackendUnauthorized = "backend_unauthorized" => Status(401),
    /// The server answered 403: it judges for itself.
    BackendForbidden = "backend_forbidden" => Status(403),

    // Other
    /// The client went away before it was answered.
    ClientGone = "client_gone" => Drop,
    /// The gateway is shutting down.
    Draining = "draining" => Status(503),
    /// A bug in the gateway.
    Internal = "internal" => Status(500),
}

impl Reason {
    /// Whether a backend that judges for itself (`by = "backend"`) said no: a failed attempt too.
    pub fn is_backend_denial(self) -> bool {
        matches!(self, Self::BackendUnauthorized | Self::BackendForbidden)
    }

    /// Whether a credential was presented that does not hold: what an address's failure budget counts.
    pub fn is_failed_proof(self) -> bool {
        use Reason::{
            ClaimRequired, CredentialMalformed, CredentialRevoked, TicketUnknown, TokenAlgorithm, TokenAudience,
            TokenClaimInvalid, TokenExpired, TokenHeader, TokenIssuer, TokenKeyUnknown, TokenLifeTooLong,
            TokenMalformed, TokenNotYetValid, TokenSignature, TokenTooLong, TokenUnknown,
        };
        matches!(
            self,
            ClaimRequired
                | CredentialMalformed
                | CredentialRevoked
                | TicketUnknown
                | TokenAlgorithm
                | TokenAudience
                | TokenClaimInvalid
                | TokenExpired
                | TokenHeader
                | TokenIssuer
                | TokenKeyUnknown
                | TokenLifeTooLong
                | TokenMalformed
                | TokenNotYetValid
                | TokenSignature
                | TokenTooLong
                | TokenUnknown
        )
    }
}

/// A refusal: its reason and, for limits, when to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What the log adds: the offending value, escaped and bounded by the log; never a secret.
    pub detail: Option<String>,
    /// The least time after which another attempt can pass; the answer adds jitter.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal without more to say.
    pub fn new(reason: Reason) -> Self {
        Self { reason, detail: None, retry_after: None }
    }

    /// Adds what the log should show.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds when to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        let reason = match error {
            HeadError::Malformed(_) => Reason::HeadMalformed,
            HeadError::TooLarge => Reason::HeadTooLarge,
            HeadError::TargetTooLong => Reason::TargetTooLong,
            HeadError::Version => Reason::HttpVersion,
        };
        Self::new(reason).with_detail(error.to_string())
    }
}

impl From<OpeningError> for Refusal {
    fn from(error: OpeningError) -> Self {
        let reason = match &error {
            OpeningError::Method(_) => Reason::MethodNotAllowed,
            OpeningError::Target(_) => Reason::TargetNotCanonical,
            OpeningError::AmbiguousName(_) => Reason::HeaderAmbiguous,
            OpeningError::Host(_) => Reason::HostInvalid,
            OpeningError::Body => Reason::BodyPresent,
            OpeningError::Expect => Reason::ExpectPresent,
            OpeningError::UpgradeMissing => Reason::UpgradeMissing,
            OpeningError::Upgrade => Reason::UpgradeInvalid,
            OpeningError::Connection => Reason::ConnectionInvalid,
            OpeningError::Version => Reason::VersionUnsupported,
            OpeningError::VersionRepeated => Reason::VersionRepeated,
            OpeningError::Key | OpeningError::DraftKey => Reason::KeyInvalid,
            OpeningError::OriginRepeated => Reason::OriginRepeated,
            OpeningError::Subprotocols => Reason::SubprotocolsMalformed,
            OpeningError::Extensions => Reason::ExtensionsMalformed,
        };
        Self::new(reason).with_detail(error.to_string())
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        let reason = match &error {
            CallError::Service => Reason::PathNotServed,
            CallError::Method(_) => Reason::CallMethod,
            CallError::AmbiguousName(_) => Reason::HeaderAmbiguous,
            CallError::Host(_) => Reason::HostInvalid,
            CallError::Body => Reason::BodyPresent,
            CallError::Expect => Reason::ExpectPresent,
            CallError::Connection => Reason::ConnectionInvalid,
            CallError::OriginRepeated => Reason::OriginRepeated,
            CallError::Path(_) => Reason::TargetNotCanonical,
            CallError::Query => Reason::CallMalformed,
        };
        Self::new(reason).with_detail(error.to_string())
    }
}

impl From<ResponseError> for Refusal {
    fn from(error: ResponseError) -> Self {
        let reason = match error {
            ResponseError::Status(401) => Reason::BackendUnauthorized,
            ResponseError::Status(403) => Reason::BackendForbidden,
            ResponseError::Status(100..=199) => Reason::BackendHandshakeInvalid,
            ResponseError::Status(_) => Reason::BackendRefused,
            ResponseError::Upgrade
            | ResponseError::Connection
            | ResponseError::Accept
            | ResponseError::Body
            | ResponseError::Subprotocol
            | ResponseError::Extensions => Reason::BackendHandshakeInvalid,
        };
        Self::new(reason).with_detail(error.to_string())
    }
}
