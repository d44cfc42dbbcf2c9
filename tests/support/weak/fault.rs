//! The faults, and beside each the cases of the suites that fall by it.

use wsgate::audit::Suite;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident: $($suite:ident [$($case:literal),+ $(,)?])*;)+) => {
        /// One thing in which the gateway is weak.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Whether this is its name.
            pub fn is_called(self, name: &str) -> bool {
                format!("{self:?}") == name
            }

            /// The cases that fall by it, and no others: suite, id and name.
            pub fn falls(self) -> &'static [(Suite, &'static str)] {
                match self {
                    $(Self::$variant => &[$($((Suite::$suite, $case),)+)*],)+
                }
            }
        }
    };
}

faults! {
    // Origin
    /// Every origin may open a socket.
    OriginUnchecked:
        Cswsh [
            "OR01 no Origin",
            "OR02 null in other spellings",
            "OR02 null, as from a sandboxed frame",
            "OR03 an empty Origin",
            "OR05 several origins in one field",
            "OR06 another scheme of the web",
            "OR07 a port that browsers leave out or write otherwise",
            "OR07 another port",
            "OR08 something before the listed name",
            "OR09 something behind the listed name",
            "OR10 a subdomain of a listed name",
            "OR11 any character for a dot",
            "OR12 the listed name before an @",
            "OR12 the listed name behind an @",
            "OR13 a dot at the end",
            "OR13 a dot too many",
            "OR14 upper case",
            "OR15 names in punycode",
            "OR16 characters that browsers allow in hosts",
            "OR17 a path, a query or a fragment",
            "OR17 white space and words behind it",
            "OR18 this machine by its names",
            "OR18 this machine by odd names",
            "OR19 extensions, files and applications",
            "OR19 the listed name by another scheme",
            "OR19 the listed name without its scheme",
            "OR20 a value of 8 KB",
            "OR20 control bytes",
            "OR21 neighbours in the list",
            "OR22 another field in its place",
            "OR22 the host's own name",
            "OR25 another site's page with the user's cookie",
            "OR26 a star for an origin",
        ];
    /// An origin that ends with a listed host is taken for it.
    OriginSuffix:
        Cswsh [
            "OR05 several origins in one field",
            "OR06 another scheme of the web",
            "OR08 something before the listed name",
            "OR10 a subdomain of a listed name",
            "OR12 the listed name behind an @",
            "OR13 a dot too many",
            "OR14 upper case",
            "OR15 names in punycode",
            "OR19 the listed name by another scheme",
            "OR19 the listed name without its scheme",
            "OR20 a value of 8 KB",
            "OR20 control bytes",
        ];
    /// An origin that begins with a listed one is taken for it.
    OriginPrefix:
        Cswsh [
            "OR05 several origins in one field",
            "OR07 a port that browsers leave out or write otherwise",
            "OR07 another port",
            "OR09 something behind the listed name",
            "OR12 the listed name before an @",
            "OR13 a dot at the end",
            "OR16 characters that browsers allow in hosts",
            "OR17 a path, a query or a fragment",
            "OR17 white space and words behind it",
            "OR20 a value of 8 KB",
        ];
    /// An origin that holds a listed host anywhere is taken for it.
    OriginSubstring:
        Cswsh [
            "OR05 several origins in one field",
            "OR06 another scheme of the web",
            "OR07 a port that browsers leave out or write otherwise",
            "OR07 another port",
            "OR08 something before the listed name",
            "OR09 something behind the listed name",
            "OR10 a subdomain of a listed name",
            "OR12 the listed name before an @",
            "OR12 the listed name behind an @",
            "OR13 a dot at the end",
            "OR13 a dot too many",
            "OR14 upper case",
            "OR15 names in punycode",
            "OR16 characters that browsers allow in hosts",
            "OR17 a path, a query or a fragment",
            "OR17 white space and words behind it",
            "OR19 the listed name by another scheme",
            "OR19 the listed name without its scheme",
            "OR20 a value of 8 KB",
            "OR20 control bytes",
        ];
    /// A listed origin is a regular expression, whose dots stand for any character.
    OriginRegexDot: Cswsh ["OR11 any character for a dot"];
    /// Letter case makes no difference.
    OriginCaseFolded: Cswsh ["OR14 upper case"];
    /// The scheme makes no difference.
    OriginSchemeIgnored:
        Cswsh ["OR06 another scheme of the web", "OR14 upper case", "OR19 the listed name by another scheme"];
    /// The port makes no difference.
    OriginPortIgnored: Cswsh ["OR07 a port that browsers leave out or write otherwise", "OR07 another port"];
    /// Every subdomain of a listed host may open a socket.
    OriginSubdomains: Cswsh ["OR10 a subdomain of a listed name", "OR20 a value of 8 KB"];
    /// `null` may open a socket.
    OriginNull: Cswsh ["OR02 null, as from a sandboxed frame"];
    /// No Origin is no obstacle, whatever a browser added by itself.
    OriginMissing: Cswsh ["OR01 no Origin", "OR22 another field in its place"];
    /// Of two Origin fields the first counts.
    OriginFirstField: Cswsh ["OR04 two Origins"];
    /// Of a list of origins in one field the first counts.
    OriginFirstOfList:
        Cswsh [
            "OR05 several origins in one field",
            "OR16 characters that browsers allow in hosts",
            "OR17 white space and words behind it",
        ];
    /// A dot at the end of the host is cut off.
    OriginTrailingDot: Cswsh ["OR13 a dot at the end"];
    /// What stands before an `@` is cut off.
    OriginUserinfo:
        Cswsh ["OR12 the listed name behind an @", "OR17 a path, a query or a fragment", "OR20 a value of 8 KB"];
    /// A path, a query and a fragment are cut off.
    OriginPath:
        Cswsh ["OR12 the listed name before an @", "OR17 a path, a query or a fragment", "OR20 a value of 8 KB"];
    /// Letters of other scripts are folded to the Latin ones that look like them.
    OriginFolded: Cswsh ["OR15 letters that look alike"];
    /// Where no Origin came, Referer is asked.
    OriginFromReferer: Cswsh ["OR22 another field in its place"];
    /// An origin on this computer may open a socket.
    OriginLoopback:
        Cswsh [
            "OR18 this machine by its names",
            "OR18 this machine by odd names",
            "OR19 extensions, files and applications",
        ];
    /// An origin of an application or extension may open a socket.
    OriginOfApps:
        Cswsh [
            "OR14 upper case",
            "OR19 extensions, files and applications",
            "OR19 the listed name by another scheme",
            "OR26 a star for an origin",
        ];
    /// Sec-Fetch-Mode is not looked at.
    FetchModeUnchecked: Cswsh ["OR24 a fetch that is no socket's"];

    // Handshake
    /// Sec-WebSocket-Version is not looked at.
    VersionUnchecked: Handshake ["HS07 13 written otherwise", "HS07 another version"];
    /// Sec-WebSocket-Key is not looked at.
    KeyUnchecked:
        Handshake [
            "HS08 no key",
            "HS09 a key that is not 16 bytes",
            "HS09 a key that is not base64",
            "HS10 two keys",
            "HS20 a whole 101",
        ];
    /// The method is not looked at.
    MethodUnchecked: Handshake ["H109 TRACE and OPTIONS", "HS01 another method"];
    /// The version of HTTP is not looked at.
    HttpVersionUnchecked: Handshake ["HS02 a version that is none", "HS02 another version of HTTP"];
    /// Upgrade is not looked at.
    UpgradeUnchecked:
        Handshake [
            "HS03 no Upgrade",
            "HS04 an upgrade to several things",
            "HS04 an upgrade to something else",
            "SM15 an upgrade to HTTP/2",
        ];
    /// Connection is not looked at.
    ConnectionUnchecked: Handshake ["HS05 a Connection without upgrade"];
    /// Fields that Connection nominates are taken out before anything is judged.
    NominatedTakenOut: Handshake ["HS06 fields that Connection nominates"];
    /// Of two Host fields the first counts.
    HostFirstField: Handshake ["HS15 two Hosts"];
    /// Host is not looked at.
    HostUnchecked:
        Handshake ["HS15 a Host that is none", "HS15 no Host", "HS15 two Hosts", "HS16 a Host that nobody serves"]
        Tls ["HS16 HTTP for another name than TLS"];
    /// A body that comes with a handshake is skipped.
    BodySkipped:
        Handshake [
            "SM07 a body by Content-Length",
            "SM08 a body by Transfer-Encoding",
            "SM09 both at once",
            "SM10 odd spellings of a coding",
            "SM11 lengths that are none",
            "SM11 two lengths",
        ];
    /// A body that is announced is waited for.
    BodyAwaited:
        Handshake [
            "H103 a body that never comes",
            "SM07 a body by Content-Length",
            "SM08 a body by Transfer-Encoding",
            "SM09 both at once",
            "SM10 odd spellings of a coding",
        ];
    /// Fields that announce a body are not looked at; bytes behind a head are refused all the same.
    BodyFieldsUnchecked:
        Handshake [
            "SM07 a body by Content-Length",
            "SM08 a body by Transfer-Encoding",
            "SM09 both at once",
            "SM10 odd spellings of a coding",
            "SM11 lengths that are none",
            "SM11 two lengths",
        ];
    /// Expect is not looked at.
    ExpectIgnored: Handshake ["SM14 an expectation"];
    /// A line may end in LF alone.
    BareLf: Handshake ["SM13 lines that end in a bare LF"];
    /// A line that begins with white space continues the one before it.
    ObsFold: Handshake ["SM12 folded lines"];
    /// Bytes that are neither text nor line ends are skipped.
    OddBytesSkipped:
        Handshake [
            "H111 bytes above ASCII where tokens stand",
            "HS12 subprotocols that are no tokens",
            "HS18 bytes that are no text",
            "SM12 control bytes",
        ]
        Cswsh ["OR15 letters that look alike", "OR20 control bytes"];
    /// Fields whose names are no tokens are skipped.
    OddNamesSkipped: Handshake ["SM12 names that are no tokens", "SM12 white space before a colon"];
    /// A head must come in one read.
    HeadInOneRead: Handshake ["H105 a head byte by byte"];
    /// To read an offer takes time that grows with the square of its length.
    OffersReadSlowly: Handshake ["HS12 spaces among subprotocols", "HS13 escapes among extensions"];
    /// White space may stand between a field's name and its colon.
    SpaceBeforeColon: Handshake ["SM12 white space before a colon"];
    /// A target may name scheme and host.
    AbsoluteTarget: Handshake ["HS17 a target that names another authority"];
    /// The path is decoded before it is routed.
    PathDecoded: Handshake ["HS18 dots and slashes in code", "HS18 letters in code"];
    /// Dot segments and empty segments are taken out of the path before it is routed.
    PathNormalized: Handshake ["HS18 backslashes", "HS18 dot segments", "HS18 empty segments"];
    /// Path parameters and fragments are cut off before the path is routed.
    PathCut: Handshake ["HS18 a fragment", "HS18 parameters of a segment"];
    /// Sec-WebSocket-Protocol is not looked at.
    SubprotocolsUnchecked:
        Handshake [
            "HS12 a subprotocol twice",
            "HS12 a thousand subprotocols",
            "HS12 subprotocols that are no tokens",
        ]
        Auth ["AU19 two credentials in one place"];
    /// The bytes of a head are bounded, and the number of its fields is not.
    FieldsUncounted: Handshake ["H104 a thousand fields"];
    /// A head may have any number of bytes and fields.
    HeadUnbounded: Handshake ["H104 a field of 60 KB", "H104 a target of 60 KB", "H104 a thousand fields"];
    /// A head beyond its bound is refused where it ends.
    LongHeadAwaited: Dos ["H104 heads that do not end"];
    /// A line without a version is forwarded.
    LineForwarded: Handshake ["HS02 a line without a version"];
    /// The preface of HTTP/2 is forwarded.
    PrefaceForwarded: Handshake ["SM15 the preface of HTTP/2"];
    /// What begins above ASCII is forwarded.
    NoiseForwarded: Handshake ["H110 noise before a request"];
    /// A target that is no path is taken for the path that is served.
    ProxyTargetServed: Handshake ["HS17 a target for a proxy"];
    /// A percent sign that begins no code is skipped.
    BrokenCodesSkipped: Handshake ["HS18 codes that are none"];
    /// A client that is refused while it sends is cut.
    SenderCut: Handshake ["H107 a refusal while the client still sends"];
    /// A client that ends in order is not missed.
    ClientEndIgnored: Handshake ["H108 a client that ends behind its head"];
    /// A refusal leaves the connection open for the next request.
    KeepAliveAfterRefusal:
        Handshake [
            "H102 a refused connection that stays",
            "SM01 a tunnel behind a refused version",
            "SM06 a second request behind a refusal",
        ]
        Dos ["H106 refusals that are not read"];
    /// A refused client is waited for, until it ends the connection.
    RefusalStays:
        Handshake ["H102 a refused connection that stays"]
        Dos [
            "H101 a head, a byte at a time",
            "H101 silence where a head should come",
            "H106 refusals that are not read",
        ];
    /// Bytes behind the head are forwarded before the backend has agreed.
    EarlyBytesForwarded:
        Handshake [
            "SM05 bytes a moment later",
            "SM05 bytes a second later",
            "SM05 bytes with a handshake that the backend refuses",
            "SM05 bytes with the handshake",
        ];
    /// A refused handshake is forwarded, and what follows it goes through as if it were a tunnel.
    TunnelOnRefusal:
        Handshake [
            "HS07 13 written otherwise",
            "HS07 another version",
            "HS19 the handshake of a draft",
            "SM01 a tunnel behind a refused version",
        ];
    /// Of a backend's 101 only the status is looked at.
    SwitchUnverified:
        Handshake [
            "SM03 a 101 from something that knows no WebSocket",
            "SM04 an Accept that is wrong",
            "SM04 an Upgrade or a Connection that is wrong",
            "SM04 two Accepts",
        ];
    /// A backend may answer in another version of HTTP.
    AnswerVersionUnchecked: Handshake ["SM04 a 101 that is no message"];
    /// A backend that ends before its answer is whole is taken to have agreed.
    BackendEndUnseen: Handshake ["BE03 an end before the 101"];
    /// Of a backend's 101 the Sec-WebSocket-Accept is not looked at.
    AcceptUnverified: Handshake ["SM04 an Accept that is wrong", "SM04 two Accepts"];
    /// Any status of a backend opens the tunnel.
    StatusUnverified:
        Handshake [
            "BE13 what a refusal gives away",
            "SM02 another status with the fields of a 101",
            "SM03 a 101 from something that knows no WebSocket",
            "SM04 an Accept that is wrong",
            "SM04 an Upgrade or a Connection that is wrong",
            "SM04 two Accepts",
            "SM16 a connection that refused",
            "SM17 ten thousand interim answers",
            "SM17 two answers at once",
            "SM20 a redirect",
        ];
    /// A backend may choose a subprotocol or an extension that nobody offered.
    ChoiceUnverified:
        Handshake [
            "HS14 a choice that nobody offered",
            "SM03 a 101 from something that knows no WebSocket",
            "SM04 an Accept that is wrong",
            "SM04 an Upgrade or a Connection that is wrong",
            "SM04 two Accepts",
        ];
    /// A backend's refusal is passed on as it is.
    BackendRefusalPassed: Handshake ["BE13 what a refusal gives away"];
    /// A backend's connection is used again after it refused.
    BackendPooled: Handshake ["SM16 a connection that refused"];
    /// The client's own X-Forwarded-For and its like are forwarded.
    ForwardedForPassed:
        Handshake ["ID01 how it came in", "ID01 who the user is", "ID04 an address of its own choice"];
    /// The client's own X-User-Id and its like are forwarded.
    IdentityPassed: Handshake ["ID01 who the user is"];
    /// Field names with an underscore pass.
    UnderscoresPassed: Handshake ["ID02 a name with an underscore"];
    /// The client's own X-Request-Id is forwarded.
    RequestIdPassed: Handshake ["ID11 a request id of the client's"];
    /// Every field is forwarded.
    EveryFieldPassed:
        Handshake [
            "HS11 an Accept of the client's",
            "ID01 how it came in",
            "ID01 who the user is",
            "ID04 an address of its own choice",
            "SM15 settings of HTTP/2",
            "SM19 cookies that it does not name",
            "SM19 fields of the connection",
            "SM19 fields that the policy does not name",
        ]
        Auth ["AU22 a token of a cookie at the backend", "AU22 a token of the header at the backend"]
        Frames ["CO01 an offer of compression"];
    /// The target is forwarded decoded.
    TargetForwardedDecoded: Handshake ["SM18 a line end in a field"];
    /// A lost backend is told as an end in order.
    LostBackendIsNormal: Handshake ["BE03 an end behind the 101"];
    /// A PROXY header is believed, whoever sends it.
    ProxyHeaderBelieved: Handshake ["ID05 a PROXY line of a stranger", "ID05 a binary PROXY header of a stranger"];
    /// Every cookie is forwarded.
    CookiesPassed:
        Handshake ["SM19 cookies that it does not name"]
        Auth ["AU22 a token of a cookie at the backend"];
    /// A refusal tells what was asked for.
    RefusalReflects: Cswsh ["OR28 a refusal that says what was asked for"];
    /// A refusal lets every page read it.
    RefusalAllowsOrigin:
        Cswsh ["OR28 a refusal that other pages may read", "OR28 a refusal that says what was asked for"];
    /// A refusal tells the server's name and version.
    RefusalNamesServer: Handshake ["TL17 the software and its version"];

    // Credentials
    /// Whoever brings no token is a guest.
    TokenNotAsked:
        Cswsh ["OR23 a forged Origin of a program"]
        Auth [
            "AU01 no credential",
            "AU20 spellings among the subprotocols",
            "AU20 spellings of the cookie",
            "AU21 queries that two readers read differently",
        ];
    /// The signature is not looked at.
    SignatureUnchecked:
        Auth [
            "AU05 a signature of somebody else's",
            "AU05 a signature that is none",
            "AU05 words that are no token",
            "AU06 ECDSA signatures without a key",
            "AU08 keys that the token brings or points at",
        ]
        Dos ["H106 refusals that are not read"];
    /// Parts behind the third are passed over.
    PartsUncounted: Auth ["AU05 too few or too many parts"];
    /// `alg` may be `none`.
    AlgorithmNone: Auth ["AU02 no signature is asked for by alg"];
    /// The public key serves as the secret of an HMAC.
    HmacWithPublicKey: Auth ["AU03 the public key as a secret"];
    /// `alg` is not compared with the key's.
    AlgorithmUnbound: Auth ["AU04 another algorithm for the same key"];
    /// `kid` is the path of a file with the secret of an HMAC.
    KidIsPath: Auth ["AU07 a kid that leads to a known key"];
    /// `kid` is not looked at.
    KidIgnored: Auth ["AU07 a kid that names no key"];
    /// The key in the token's own header verifies it.
    EmbeddedKey: Auth ["AU08 keys that the token brings or points at"];
    /// `crit` is not looked at.
    CritIgnored: Auth ["AU09 demands that nobody understands"];
    /// `exp` is not looked at.
    ExpUnchecked:
        Auth [
            "AU11 an end that is none",
            "AU12 a token that is over",
            "AU13 a token that lives too long",
            "AU28 a session that outlives its token",
        ];
    /// Clocks may differ by an hour.
    LeewayOfAnHour:
        Auth [
            "AU12 a token that is over",
            "AU13 a token that has not begun",
            "AU28 a session that outlives its token",
        ];
    /// `nbf` and `iat` are not looked at.
    NbfUnchecked: Auth ["AU13 a token that has not begun"];
    /// `iss` is not looked at.
    IssUnchecked: Auth ["AU14 a token of another issuer"];
    /// `aud` is not looked at.
    AudUnchecked: Auth ["AU15 a token for another audience"];
    /// `sub` is not looked at.
    SubUnchecked: Auth ["AU16 a token of nobody"];
    /// Of two members with one name the last counts.
    DuplicateMembers: Auth ["AU17 JSON that two readers read differently"];
    /// A token may have padding and line ends.
    LenientBase64: Auth ["AU05 a signature in another spelling"];
    /// A token may have any length.
    TokenUnbounded: Auth ["AU18 a token beyond any length"];
    /// `zip` and `enc` are not looked at.
    ZipIgnored: Auth ["AU18 a token to be inflated, or of too many claims"];
    /// Of several tokens the first counts.
    SeveralTokens: Auth ["AU19 credentials in two places", "AU19 two credentials in one place"];
    /// Any scheme of Authorization, and any white space in it, will do.
    SchemeUnchecked: Auth ["AU20 spellings of the field Authorization"];
    /// A token in the query is forwarded.
    QueryTokenForwarded: Auth ["AU22 a token of the query at the backend"];
    /// A token in the header is forwarded.
    HeaderTokenForwarded: Auth ["AU22 a token of the header at the backend"];
    /// The 101 chooses a token among the subprotocols.
    TokenEchoed: Auth ["AU23 a token among the subprotocols"];
    /// A refusal repeats the token that it refuses.
    TokenReflected: Auth ["AU22 a token in an answer"];
    /// A refusal tells what is wrong with the token.
    ReasonTold: Auth ["AU25 answers that tell wrong tokens apart"];
    /// Behind fifty wrong tokens on end no further one is judged.
    FailsOpen: Auth ["AU25 a hundred wrong tokens"];
    /// The log holds tokens.
    TokenLogged: Auth ["AU22 a token in the log"];
    /// A session outlives its token.
    SessionOutlivesToken: Auth ["AU28 a session that outlives its token"];

    // Frames
    /// A client's frame needs no mask.
    UnmaskedPassed: Frames ["FR01 a frame without a mask"];
    /// A backend's masked frame is forwarded.
    MaskedPassed: Frames ["FR02 a masked frame of the backend's"];
    /// Reserved bits are not looked at.
    ReservedBitsPassed:
        Frames [
            "BE14 a backend's reserved bit or opcode",
            "CO01 compression that was not agreed on",
            "CO05 RSV1 where no message begins",
            "FR03 a reserved bit",
        ];
    /// Reserved opcodes are not looked at.
    ReservedOpcodesPassed: Frames ["BE14 a backend's reserved bit or opcode", "FR03 a reserved opcode"];
    /// A control frame may be longer than 125 bytes.
    LongControlPassed: Frames ["BE14 a backend's broken control frame", "FR04 a long control frame"];
    /// A control frame may be fragmented.
    FragmentedControlPassed: Frames ["BE14 a backend's broken control frame", "FR04 a fragment of a control frame"];
    /// A length may be written longer than it need be.
    LongLengthPassed: Frames ["BE14 a backend's impossible length", "FR05 a length longer than it need be written"];
    /// A length may have its highest bit set.
    HighestBitPassed: Frames ["BE14 a backend's impossible length", "FR06 a length with the highest bit"];
    /// A continuation needs no beginning, and a message may begin inside another.
    FragmentOrderUnchecked:
        Frames [
            "BE14 a backend's fragments out of order",
            "FR10 a continuation of nothing",
            "FR10 a message inside a message",
        ];
    /// A message may have any size.
    MessageSizeUnlimited:
        Frames [
            "FR06 lengths that overflow together",
            "FR07 an announced length beyond all bounds",
            "FR07 an announced length beyond the bound by one",
            "FR08 a message too big by its fragments",
        ]
        Dos ["FR07 a flood of frames that announce 2^62 bytes"];
    /// A backend's message may have any size.
    BackendSizeUnlimited:
        Frames ["BE14 a backend's announced length beyond the bound by one", "BE14 a backend's impossible length"];
    /// A message may have any number of fragments.
    FragmentsUnlimited:
        Frames ["FR09 fragments without an end"]
        Dos ["FR09 a flood of fragments of one message"];
    /// Messages may come at any rate.
    MessageRateUnlimited:
        Frames ["FR11 messages as fast as they go"]
        Dos ["FR11 a flood of empty messages", "FR11 a flood of messages of one byte"];
    /// Control frames may come at any rate.
    ControlRateUnlimited:
        Frames ["FR12 Pings as fast as they go", "FR12 Pongs that nobody asked for"]
        Dos ["FR12 a flood of pings", "FR12 a flood of pongs that nobody asked for"];
    /// A Close frame may say anything.
    CloseCodesUnchecked:
        Frames ["FR14 a Close of the backend's that may not be sent", "FR14 a Close that may not be sent"];
    /// What comes behind a Close frame is forwarded.
    DataAfterClose: Frames ["FR15 data behind a Close"];
    /// Extensions are passed on.
    ExtensionsPassed: Frames ["CO01 an offer of compression"];
    /// Nobody is pinged.
    NoPing:
        Frames ["FR19 a client that says nothing"]
        Dos ["RX06 a session that answers nothing"];
    /// A client that does not answer a Close is waited for.
    NoCloseDeadline:
        Frames ["FR16 a Close that is ignored"]
        Dos ["FR17 frame headers that stay incomplete"];
    /// An unfinished frame header is waited for.
    PartialFrameForever:
        Frames ["FR17 a frame that is begun and never finished"]
        Dos ["FR17 frame headers that stay incomplete"];
    /// Whoever goes on sending behind a Close is listened to.
    ClosedStays:
        Frames ["FR16 a Close that is ignored"]
        Dos ["FR16 peers that do not answer a Close"];
    /// A client that is cut off is not missed: its session stays at the backend.
    LostClientKept: Tls ["TL12 an end without close_notify"];

    // TLS
    /// A hello of TLS 1.0 or 1.1 is answered.
    OldTlsAnswered: Tls ["TL07 SSL 3.0", "TL07 TLS 1.0", "TL07 TLS 1.1"];
    /// Whatever protocol is offered by ALPN is agreed to.
    AnyAlpn: Tls ["TL10 an unknown protocol alone"];
    /// Suites without forward secrecy, authentication or encryption are agreed to.
    WeakSuitesAnswered:
        Tls [
            "TL07 3DES suites",
            "TL07 CBC suites",
            "TL07 RC4 suites",
            "TL07 RSA key exchange",
            "TL07 anonymous suites",
            "TL07 export suites",
            "TL07 suites without encryption",
        ];
    /// Compression is agreed to.
    CompressionAnswered: Tls ["TL07 compression"];
    /// TLS 1.2 is answered without renegotiation_info.
    RenegotiationUnbound: Tls ["TL06 renegotiation bound to its connection"];
    /// Early data is taken.
    EarlyDataTaken: Tls ["TL08 a handshake in early data"];
    /// Whoever resumes a session of TLS needs no token.
    ResumedTrusted:
        Cswsh ["OR23 a forged Origin of a program"]
        Auth [
            "AU01 no credential",
            "AU20 spellings among the subprotocols",
            "AU20 spellings of the cookie",
            "AU21 queries that two readers read differently",
        ]
        Tls ["TL11 a resumed session"];
    /// Zeros are answered with a ServerHello.
    ZerosAnswered: Tls ["TL04 what is no handshake"];
    /// A handshake without end is taken, and not answered.
    EndlessHelloTaken: Tls ["TL04 a handshake message without end", "TL04 empty records without end"];
    /// A long ClientHello stops everything for a while.
    LongHelloStops: Tls ["TL04 a hello of 60 kB"];
    /// An address in the place of a name stops everything for a while.
    AddressForNameStops: Tls ["TL09 names that are none"];
    /// A ClientHello must come in one segment.
    HelloInOneSegment: Tls ["TL03 a hello in pieces"];
    /// Plain HTTP on the TLS port is redirected.
    PlainRedirected: Tls ["HS21 plain HTTP on the port of TLS"];
    /// Plain HTTP on the TLS port is served.
    PlainServed: Tls ["HS21 plain HTTP on the port of TLS"];
    /// No Strict-Transport-Security is sent.
    NoHsts: Handshake ["TL17 a refusal that keeps browsers with TLS"];

    // Floods and slowness
    /// A client that does not finish its TLS handshake is waited for.
    NoTlsDeadline:
        Dos [
            "TL01 a TCP connection that stays silent",
            "TL02 a ClientHello, a byte at a time",
            "TL02 silence behind the server's first flight",
        ];
    /// A client that does not finish its head is waited for.
    NoHeadDeadline: Dos ["H101 a head, a byte at a time", "H101 silence where a head should come"];
    /// An address may have any number of connections that are not admitted.
    NoPendingCap: Dos ["RX01 silent connections of one address"];
    /// An address may have any number of sessions.
    NoAddressCap: Dos ["RX04 more sessions of an address than allowed"];
    /// A subject may have any number of sessions.
    NoSubjectCap: Dos ["RX05 more sessions of a subject than allowed"];
    /// What a slow client does not read is kept, however much it is.
    UnboundedBuffer: Dos ["RX07 a session that asks for much and does not read"];
}
