//! What the engine tells a log, through `tracing` if that feature is on; otherwise nothing is left
//! of it. Never a value's bytes.

/// An event: a level of `tracing` (`info`, `warn`, `error`), and a format with its arguments.
macro_rules! event {
    ($level:ident, $($message:tt)+) => {{
        #[cfg(feature = "tracing")]
        tracing::$level!(target: "kindlog", $($message)+);
        #[cfg(not(feature = "tracing"))]
        let _ = format_args!($($message)+);
    }};
}

pub(crate) use event;
