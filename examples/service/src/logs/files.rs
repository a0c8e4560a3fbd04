//! A file a day, named after it (UTC), and none that is older than it may be.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use auth_core::{
    ports::Clock,
    time::{Date, Duration},
};
use tracing_subscriber::fmt::MakeWriter;

const PREFIX: &str = "auth-service.";
const SUFFIX: &str = ".log";

/// The files of a folder. What cannot be written is lost: nobody is left to tell.
pub(super) struct DailyFiles {
    clock: Box<dyn Clock>,
    days: u16,
    folder: PathBuf,
    today: Mutex<(Date, File)>,
}

impl DailyFiles {
    /// Makes the folder if it is not there, and deletes what is too old: of `days` days there are files, today being one.
    pub(super) fn open(folder: &Path, days: u16, clock: impl Clock) -> io::Result<Self> {
        make_folder(folder)?;
        let today = clock.now().date();
        let files = Self {
            clock: Box::new(clock),
            days,
            folder: folder.to_owned(),
            today: Mutex::new((today, open(folder, today)?)),
        };
        files.forget(today);
        Ok(files)
    }

    /// By the day in the name: when a file was made or touched says nothing of what is in it.
    fn forget(&self, today: Date) {
        let Some(last) = today.checked_sub(Duration::days(self.days.into())) else {
            return;
        };
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let day = entry.file_name().to_str().and_then(day_of);
            if day.is_some_and(|day| day <= last) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Write for &DailyFiles {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        let day = self.clock.now().date();
        if today.0 != day {
            *today = (day, open(&self.folder, day)?);
            self.forget(day);
        }
        today.1.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for DailyFiles {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

fn open(folder: &Path, day: Date) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(folder.join(format!("{PREFIX}{day}{SUFFIX}")))
}

/// Of a file of ours.
fn day_of(name: &str) -> Option<Date> {
    let day = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let mut parts = day.splitn(3, '-').map(str::parse::<u16>);
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = u8::try_from(month.ok()?).ok()?.try_into().ok()?;
    Date::from_calendar_date(year.ok()?.into(), month, day.ok()?.try_into().ok()?).ok()
}

/// What clients did is not for every user of the machine.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| {
        let kind = error.kind();
        io::Error::new(
            kind,
            format!("{} cannot be made: {error}", folder.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write,
        path::Path,
        sync::{Arc, Mutex},
    };

    use auth_core::{
        ports::Clock,
        time::{Duration, OffsetDateTime},
    };

    use super::DailyFiles;

    #[derive(Clone)]
    struct Hand(Arc<Mutex<OffsetDateTime>>);

    impl Clock for Hand {
        fn now(&self) -> OffsetDateTime {
            *self.0.lock().unwrap()
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let files = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_of_as_many_days_are_kept_and_nothing_of_others_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("logs");
        // 1970-01-01
        let hand = Hand(Arc::new(Mutex::new(OffsetDateTime::UNIX_EPOCH)));
        let files = DailyFiles::open(&folder, 3, hand.clone()).unwrap();
        for day in 1..=5 {
            (&files)
                .write_all(format!("of day {day}\n").as_bytes())
                .unwrap();
            *hand.0.lock().unwrap() += Duration::DAY;
        }
        let of = |day: u8| format!("auth-service.1970-01-{day:02}.log");
        assert_eq!(names(&folder), [of(3), of(4), of(5)]);
        let text = fs::read_to_string(folder.join(of(4))).unwrap();
        assert_eq!(text, "of day 4\n");
        drop(files);

        // A service that was away for long forgets when it comes back, in the order of the days and not of the making.
        let others = [
            "auth-service.log",
            "auth-service.1970-13-01.log",
            "notes.1970-01-01.log",
        ];
        for name in others.into_iter().chain([of(1).as_str()]) {
            fs::write(folder.join(name), "").unwrap();
        }
        *hand.0.lock().unwrap() += Duration::DAY;
        let files = DailyFiles::open(&folder, 3, hand).unwrap();
        (&files).write_all(b"again\n").unwrap();
        let mut expected = [of(5), of(7)].to_vec();
        expected.extend(others.map(str::to_owned));
        expected.sort();
        assert_eq!(names(&folder), expected);
    }

    #[cfg(unix)]
    #[test]
    fn what_clients_did_is_not_for_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("logs");
        let hand = Hand(Arc::new(Mutex::new(OffsetDateTime::UNIX_EPOCH)));
        DailyFiles::open(&folder, 1, hand).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("auth-service.1970-01-01.log")), 0o600);
    }
}
