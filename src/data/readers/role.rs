//! What columns mean, and what they are usually called.

use crate::error::plain;

/// What a column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Item,
    Value,
    Time,
    Behaviour,
}

/// Usual names of the columns that stand in for users where those are missing or null.
pub(super) const SESSIONS: [&str; 3] = ["sessionid", "session", "usersession"];

impl Role {
    pub const ALL: [Role; 5] = [Role::User, Role::Item, Role::Value, Role::Time, Role::Behaviour];

    pub fn name(self) -> &'static str {
        ["user", "item", "value", "time", "behaviour"][self as usize]
    }

    /// Usual names, the same for all formats, the first in the list first: lower case, without `_`, `-` and spaces.
    pub fn usual(self) -> &'static [&'static str] {
        match self {
            Role::User => &[
                "user",
                "userid",
                "uid",
                "reviewerid",
                "visitorid",
                "customerid",
                "memberid",
                "accountid",
                "profileid",
                "personid",
                "playerid",
                "username",
                "msno",
            ],
            Role::Item => &[
                "item",
                "itemid",
                "iid",
                "movieid",
                "parentasin",
                "asin",
                "productid",
                "articleid",
                "clickarticleid",
                "trackid",
                "songid",
                "artistid",
                "bookid",
                "isbn",
                "videoid",
                "photoid",
                "newsid",
                "businessid",
                "venueid",
                "poiid",
                "placeid",
                "locationid",
                "animeid",
                "recipeid",
                "gameid",
                "appid",
                "beerid",
                "courseid",
                "bookmarkid",
                "skuid",
                "sku",
                "aid",
            ],
            Role::Value => &[
                "rating",
                "value",
                "score",
                "overall",
                "stars",
                "bookrating",
                "watchratio",
                "weight",
                "playcount",
                "plays",
            ],
            Role::Time => &[
                "timestamp",
                "unixreviewtime",
                "unixtime",
                "ts",
                "timems",
                "timestampms",
                "clicktimestamp",
                "time",
                "datetime",
                "eventtime",
                "createdat",
                "dateadded",
                "date",
                "eventdate",
                "tdat",
            ],
            Role::Behaviour => &[
                "behaviour",
                "behavior",
                "behaviortype",
                "behaviourtype",
                "event",
                "eventtype",
                "action",
                "actiontype",
                "interactiontype",
            ],
        }
    }

    /// The column of this meaning in a header, by its usual names. Sessions are users where there are no others.
    pub fn find(self, header: &[String]) -> Option<usize> {
        let usual = self.usual().iter();
        let session = SESSIONS.iter().filter(|_| self == Role::User);
        usual.chain(session).find_map(|usual| header.iter().position(|name| plain(name) == *usual))
    }

    pub fn may_be(self, name: &str) -> bool {
        let name = plain(name);
        self.usual().contains(&name.as_str()) || self == Role::User && SESSIONS.contains(&name.as_str())
    }
}

/// Whether two columns are called the same, or as columns that mean the same.
#[cfg(feature = "parquet")]
pub(crate) fn mean_the_same(a: &str, b: &str) -> bool {
    let (plain_a, plain_b) = (plain(a), plain(b));
    let mut names = Role::ALL.into_iter().map(Role::usual).chain([&SESSIONS[..]]);
    a == b || names.any(|names| names.contains(&plain_a.as_str()) && names.contains(&plain_b.as_str()))
}
