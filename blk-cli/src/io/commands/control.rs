//! `help`, `quit`, `sleep`, `sigraise`, `abort`.

use std::thread;
use std::time::{Duration, Instant};

use blk_core::parse_integer;
use rustix::process::{Signal, getpid, kill_process};

use super::arguments::bytes;
use super::{Call, Command, Needs, all, find};
use crate::io::refusal::{Done, Refusal};
use crate::io::session::Session;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "help",
        short: Some("?"),
        synopsis: Some("[command]"),
        summary: "shows all commands, or more about one",
        help: "",
        words_min: 0,
        words_max: Some(1),
        needs: Needs::Nothing,
        run: help,
    },
    Command {
        name: "quit",
        short: Some("q"),
        synopsis: None,
        summary: "ends the program",
        help: "",
        words_min: 0,
        words_max: None,
        needs: Needs::Nothing,
        run: |session, _| {
            session.is_over = true;
            Ok(())
        },
    },
    Command {
        name: "sleep",
        short: None,
        synopsis: None,
        summary: "waits so many milliseconds",
        help: "",
        words_min: 1,
        words_max: Some(1),
        needs: Needs::Nothing,
        run: sleep,
    },
    Command {
        name: "sigraise",
        short: None,
        synopsis: Some("signal"),
        summary: "sends the program a signal",
        help: "
 Sends the signal of that number to the program itself; what it has not stored is lost, as when
 somebody else kills it.

 'sigraise 9' ends it at once.
",
        words_min: 1,
        words_max: Some(1),
        needs: Needs::Nothing,
        run: sigraise,
    },
    Command {
        name: "abort",
        short: None,
        synopsis: None,
        summary: "ends the program as a crash does",
        help: "",
        words_min: 0,
        words_max: Some(0),
        needs: Needs::Nothing,
        run: abort,
    },
];

fn help(session: &mut Session, call: &Call<'_>) -> Done {
    let Some(name) = call.words.first() else {
        let usages = all().map(|command| command.usage(command.name));
        let last = "\n'help COMMAND' tells more about one.\n".to_owned();
        session.console.say_all(usages.chain(std::iter::once(last)));
        return Ok(());
    };
    let Some(command) = find(name) else {
        return Err(Refusal::Line(format!("command {name} not found")));
    };
    session.console.say_all([command.usage(name).as_str(), command.help]);
    Ok(())
}

fn sleep(session: &mut Session, call: &Call<'_>) -> Done {
    let word = &call.words[0];
    let milliseconds = parse_integer(word).and_then(|number| u64::try_from(number).ok());
    let Some(milliseconds) = milliseconds else {
        return Err(Refusal::Line(format!("{word} is not a valid number")));
    };
    let started = Instant::now();
    let whole = Duration::from_millis(milliseconds);
    while let Some(rest) = whole.checked_sub(started.elapsed()).filter(|rest| !rest.is_zero()) {
        // What completes in the meantime is reported soon.
        let nap = if session.flights.is_empty() { rest } else { rest.min(Duration::from_millis(25)) };
        thread::sleep(nap);
        session.poll();
    }
    Ok(())
}

fn sigraise(_session: &mut Session, call: &Call<'_>) -> Done {
    let word = &call.words[0];
    let number = bytes(word)?;
    let too_large = || Refusal::Line(format!("signal argument '{word}' is too large to be a valid signal"));
    let number = i32::try_from(number).ok().filter(|number| *number <= 64).ok_or_else(too_large)?;
    if number == 0 {
        return Ok(());
    }
    let signal = Signal::from_named_raw(number)
        .ok_or_else(|| Refusal::Error(format!("signal {number} has no name, and cannot be sent")))?;
    kill_process(getpid(), signal)
        .map_err(|error| Refusal::Error(format!("signal {number} cannot be sent: {error}")))
}

fn abort(_session: &mut Session, _call: &Call<'_>) -> Done {
    std::process::abort()
}
