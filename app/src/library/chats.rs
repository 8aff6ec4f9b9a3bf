//! Conversations, their messages, and search in them.

use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use super::Library;
use super::error::Result;
use super::notes::read;
use super::pictures::json;
use super::records::{Conversation, ConversationId, Message, MessageId, MessageState};

/// Shortest text, in characters, that the index of words finds.
const SHORTEST_INDEXED: usize = 3;
/// Most messages of one conversation that a search gives, so that it does not hide all others.
const MOST_OF_ONE: usize = 3;
/// Characters of an excerpt before what was found, and in all.
const EXCERPT_BEFORE: usize = 40;
const EXCERPT: usize = 160;

/// Where a text was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its title.
    pub title: String,
    /// The message; `None` if only the title has the text.
    pub message: Option<MessageId>,
    /// What stands around it, on one line; empty for titles.
    pub excerpt: String,
}

impl Library {
    /// Keeps a conversation, in place of what was kept of it before.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_conversation(&mut self, conversation: &Conversation) -> Result<()> {
        let record = json("a conversation", conversation)?;
        self.atomically(|library| {
            library.run(
                "INSERT INTO conversations (id, pinned, changed, words, record) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET pinned = excluded.pinned, changed = excluded.changed, words = excluded.words,
                    record = excluded.record",
                params![
                    conversation.id.0,
                    conversation.pinned,
                    conversation.changed,
                    conversation.title.to_lowercase(),
                    record
                ],
            )?;
            Ok(())
        })
    }

    /// Keeps a message, in place of what was kept of it before. Messages in state [`MessageState::Writing`] belong to this
    /// session; if it dies, the next [`Library::adopt`] makes them [`MessageState::Stopped`]. They are found by
    /// [`Library::search_conversations`] once they are not written any more.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_message(&mut self, message: &Message) -> Result<()> {
        // The text has a column of its own.
        let bare = Message {
            text: String::new(),
            attachments: message.attachments.clone(),
            info: message.info.clone(),
            ..*message
        };
        let record = json("a message", &bare)?;
        let writing = message.state == MessageState::Writing;
        self.atomically(|library| {
            library.run(
                "INSERT INTO messages (id, conversation, session, writing, text, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET conversation = excluded.conversation, session = excluded.session,
                    writing = excluded.writing, text = excluded.text, record = excluded.record",
                params![
                    message.id.0,
                    message.conversation.0,
                    library.session.0,
                    writing,
                    message.text,
                    record
                ],
            )?;
            library.run("DELETE FROM message_words WHERE rowid = ?1", [message.id.0])?;
            if !writing {
                library.run(
                    "INSERT INTO message_words (rowid, text) VALUES (?1, ?2)",
                    params![message.id.0, message.text],
                )?;
            }
            Ok(())
        })
    }

    /// All conversations: pinned ones first, then the one changed last.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn conversations(&self) -> Result<Vec<Conversation>> {
        let rows: Vec<(i64, String)> = self.rows(
            "SELECT id, record FROM conversations ORDER BY pinned DESC, changed DESC, id DESC",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(rows
            .into_iter()
            .filter_map(|(id, text)| read("conversation", id, &text))
            .collect())
    }

    /// All messages of a conversation, also those of branches that are not shown, in the order of their numbers.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn messages(&self, conversation: ConversationId) -> Result<Vec<Message>> {
        let rows = self.rows(
            "SELECT id, record, text FROM messages WHERE conversation = ?1 ORDER BY id",
            [conversation.0],
            message_of,
        )?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// One message.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub(super) fn message(&self, id: MessageId) -> Result<Option<Message>> {
        let rows = self.rows(
            "SELECT id, record, text FROM messages WHERE id = ?1",
            [id.0],
            message_of,
        )?;
        Ok(rows.into_iter().flatten().next())
    }

    /// Messages that are being written by sessions of whom `dead` says so.
    pub(super) fn messages_left(&self, dead: impl Fn(i64) -> bool) -> Result<Vec<Message>> {
        let rows = self.rows(
            "SELECT id, record, text, session FROM messages WHERE writing ORDER BY id",
            [],
            |row| Ok((message_of(row)?, row.get(3)?)),
        )?;
        Ok(rows
            .into_iter()
            .filter(|(_, session)| dead(*session))
            .filter_map(|(message, _)| message)
            .collect())
    }

    /// Deletes a conversation with all its messages.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn delete_conversation(&mut self, id: ConversationId) -> Result<()> {
        self.atomically(|library| {
            library.run(
                "DELETE FROM message_words WHERE rowid IN (SELECT id FROM messages WHERE conversation = ?1)",
                [id.0],
            )?;
            library.run("DELETE FROM messages WHERE conversation = ?1", [id.0])?;
            library.run("DELETE FROM conversations WHERE id = ?1", [id.0])?;
            Ok(())
        })
    }

    /// Deletes messages.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn delete_messages(&mut self, ids: &[MessageId]) -> Result<()> {
        self.atomically(|library| {
            for id in ids {
                library.run("DELETE FROM message_words WHERE rowid = ?1", [id.0])?;
                library.run("DELETE FROM messages WHERE id = ?1", [id.0])?;
            }
            Ok(())
        })
    }

    /// Messages and titles that hold all words of a text, in any script and case, also as parts of words. Conversations
    /// changed last come first; of each at most one title and several messages.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn search_conversations(&self, text: &str, limit: usize) -> Result<Vec<Found>> {
        // A zero would end the index's query early.
        let text = text.to_lowercase().replace('\0', " ");
        let wanted: Vec<String> = text.split_whitespace().map(Into::into).collect();
        if wanted.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let most = Value::from(i64::try_from(limit).unwrap_or(i64::MAX));
        let (indexed, short): (Vec<&String>, Vec<&String>) = wanted
            .iter()
            .partition(|word| word.chars().count() >= SHORTEST_INDEXED);
        let mut sql = String::from(
            "SELECT m.id, c.id, json_extract(c.record, '$.title') FROM messages m
             JOIN conversations c ON c.id = m.conversation WHERE NOT m.writing",
        );
        let mut values = Vec::new();
        if !indexed.is_empty() {
            // In quotes, so that nothing in it is taken for a command.
            let quoted = indexed
                .iter()
                .map(|word| format!("\"{}\"", word.replace('"', "\"\"")));
            let query = quoted.collect::<Vec<_>>().join(" AND ");
            sql.push_str(
                " AND m.id IN (SELECT rowid FROM message_words WHERE message_words MATCH ?)",
            );
            values.push(Value::from(query));
        }
        sql.push_str(" ORDER BY c.changed DESC, c.id DESC, m.id");
        // Words too short for the index are looked for letter by letter, and here: SQLite knows the cases of ASCII alone.
        let mut found: Vec<Found> = Vec::new();
        let mut of_it = 0;
        let fault = |error| self.fault(error);
        let text_of = "SELECT text FROM messages WHERE id = ?1";
        let mut texts = self.db.prepare_cached(text_of).map_err(fault)?;
        let mut statement = self.db.prepare_cached(&sql).map_err(fault)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(fault)?;
        while found.len() < limit
            && let Some(row) = rows.next().map_err(fault)?
        {
            let conversation = ConversationId(row.get(1).map_err(fault)?);
            let same = found
                .last()
                .is_some_and(|last| last.conversation == conversation);
            if same && of_it >= MOST_OF_ONE {
                continue;
            }
            let message: i64 = row.get(0).map_err(fault)?;
            let text: String = texts
                .query_row([message], |row| row.get(0))
                .map_err(fault)?;
            if !short.is_empty() {
                let lower = text.to_lowercase();
                if !short.iter().all(|word| lower.contains(word.as_str())) {
                    continue;
                }
            }
            of_it = if same { of_it + 1 } else { 1 };
            found.push(Found {
                message: Some(MessageId(message)),
                excerpt: excerpt(&text, &wanted),
                conversation,
                title: row.get(2).map_err(fault)?,
            });
        }
        let mut sql =
            String::from("SELECT id, json_extract(record, '$.title') FROM conversations WHERE 1");
        let mut values = Vec::new();
        for word in &wanted {
            sql.push_str(" AND instr(words, ?) > 0");
            values.push(Value::from(word.clone()));
        }
        sql.push_str(" ORDER BY changed DESC, id DESC LIMIT ?");
        values.push(most);
        let titles = self.rows(&sql, params_from_iter(values), |row| {
            Ok(Found {
                conversation: ConversationId(row.get(0)?),
                title: row.get(1)?,
                message: None,
                excerpt: String::new(),
            })
        })?;
        // A title stands before the messages of its conversation, or at the top.
        let mut all: Vec<Found> = Vec::new();
        for title in titles {
            let (of_it, others) = found
                .into_iter()
                .partition::<Vec<_>, _>(|one| one.conversation == title.conversation);
            all.push(title);
            all.extend(of_it);
            found = others;
        }
        all.extend(found);
        all.truncate(limit);
        Ok(all)
    }
}

fn message_of(row: &Row<'_>) -> rusqlite::Result<Option<Message>> {
    let (id, record, text): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(read::<Message>("message", id, &record).map(|message| Message { text, ..message }))
}

/// What stands around the first word that is found.
fn excerpt(text: &str, words: &[String]) -> String {
    let characters: Vec<char> = text.chars().collect();
    // Lower case may have other lengths; then the place is near enough.
    let lower: Vec<char> = text.to_lowercase().chars().collect();
    let place = words
        .iter()
        .filter_map(|word| {
            let word: Vec<char> = word.chars().collect();
            lower
                .windows(word.len().max(1))
                .position(|window| window == word)
        })
        .min()
        .unwrap_or(0);
    let start = place.saturating_sub(EXCERPT_BEFORE).min(characters.len());
    let shown = characters.get(start..).unwrap_or_default();
    let mut line: String = shown.iter().take(EXCERPT).collect();
    line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if start > 0 {
        line.insert(0, '…');
    }
    if shown.len() > EXCERPT {
        line.push('…');
    }
    line
}
