"""What may be sent: one table per family, command -> its grammar (the language is pattern.py's).

A command is used only when both servers have it, so families wake up as a server learns them. Left out on purpose:
what stops the server (SHUTDOWN, DEBUG, CLIENT PAUSE), what changes it for later rounds (CONFIG SET), and replies that
only one instant can give (INFO, MONITOR).
"""

STRINGS = {
    "APPEND": "<str> <value>",
    "DECR": "<str>",
    "DECRBY": "<str> <int>",
    "GET": "<str>",
    "GETDEL": "<str>",
    "GETEX": "<str> [EX <seconds>|PX <milliseconds>|EXAT <at>|PXAT <atms>|PERSIST] [EX <seconds>|PERSIST]",
    "GETRANGE": "<str> <index> <index>",
    "GETSET": "<str> <value>",
    "INCR": "<str>",
    "INCRBY": "<str> <int>",
    "INCRBYFLOAT": "<str> <float>",
    "LCS": "<str> <str> [LEN] [IDX] [MINMATCHLEN <int>] [WITHMATCHLEN]",
    "MGET": "<str>...",
    "MSET": "(<str> <value>)...",
    "MSETNX": "(<str> <value>)...",
    "PSETEX": "<str> <milliseconds> <value>",
    "SET": "<str> <value> [NX|XX] [GET] [EX <seconds>|PX <milliseconds>|EXAT <at>|PXAT <atms>|KEEPTTL] [NX|XX|GET|EX <seconds>|<text>]",
    "SETEX": "<str> <seconds> <value>",
    "SETNX": "<str> <value>",
    "SETRANGE": "<str> <offset> <value>",
    "STRLEN": "<str>",
    "SUBSTR": "<str> <index> <index>",
}

KEYS = {
    "COPY": "<key> <key> [DB <db>] [REPLACE]",
    "DEL": "<key>...",
    "DUMP": "nosuchkey",
    "EXISTS": "<key>...",
    "EXPIRE": "<key> <seconds> [NX|XX|GT|LT] [NX|XX|GT|LT]",
    "EXPIREAT": "<key> <at> [NX|XX|GT|LT]",
    "EXPIRETIME": "<key>",
    "KEYS": "<pattern>",
    "MOVE": "<key> <db>",
    "OBJECT": "(ENCODING|REFCOUNT|IDLETIME|FREQ) <key> | HELP | <text> <key> | ENCODING",
    "PERSIST": "<key>",
    "PEXPIRE": "<key> <milliseconds> [NX|XX|GT|LT] [NX|XX|GT|LT]",
    "PEXPIREAT": "<key> <atms> [NX|XX|GT|LT]",
    "PEXPIRETIME": "<key>",
    "PTTL": "<key>",
    "RANDOMKEY": "",
    "RENAME": "<key> <key>",
    "RENAMENX": "<key> <key>",
    "SCAN": "0 COUNT 1000 [MATCH <pattern>] [TYPE (string|list|hash|set|zset|stream|nosuch)] | <int> | 0 COUNT <int> | 0 <text>",
    "TOUCH": "<key>...",
    "TTL": "<key>",
    "TYPE": "<key>",
    "UNLINK": "<key>...",
}

TRANSACTIONS = {
    "DISCARD": "",
    "EXEC": "",
    "MULTI": "",
    "UNWATCH": "",
    "WATCH": "<key>...",
}

CONNECTION = {
    "AUTH": "<text> | <text> <text> | default <text>",
    "CLIENT": "ID|GETNAME|SETNAME <text>|INFO|LIST|LIST TYPE (normal|pubsub|replica|master|<text>)|LIST ID 99999999|NO-EVICT (ON|OFF|<text>)"
              "|UNBLOCK <int>|HELP|<text>|SETNAME|GETREDIR|KILL ID 999999999|KILL <text>|REPLY <text>|TRACKINGINFO|NO-TOUCH (ON|OFF)"
              "|SETINFO (LIB-NAME|LIB-VER|<text>) <text>|CACHING <text>|PAUSE <text>|UNPAUSE",
    "COMMAND": "COUNT|GETKEYS SET <key> <value>|GETKEYS MSET (<key> <value>)...|GETKEYS <text>|GETKEYSANDFLAGS GET <key>|INFO nosuch|HELP"
               "|LIST FILTERBY PATTERN nosuch|LIST FILTERBY <text> <text>|<text>",
    "CONFIG": "GET nosuch|GET (maxmemory|hash-max-listpack-entries|appendonly|databases|timeout)|HELP|<text>|GET|SET nosuch 1|SET maxmemory",
    "DBSIZE": "",
    "ECHO": "<value>",
    "FLUSHALL": "[SYNC|ASYNC|<text>]",
    "FLUSHDB": "[SYNC|ASYNC|<text>]",
    "HELLO": "[2|3|3 SETNAME <text>|2 SETNAME <text> SETNAME <text>|4|1|<text>|3 AUTH <text> <text>|3 <text>|3 AUTH <text>]",
    "LASTSAVE": "",
    "LATENCY": "HELP|<text>|RESET nosuch|HISTORY nosuch|GRAPH nosuch",
    "LOLWUT": "",
    "MEMORY": "USAGE <key>|USAGE <key> SAMPLES <int>|HELP|<text>|USAGE",
    "PING": "[<value>] | <value> <value>",
    "QUIT": "",
    "RESET": "",
    "ROLE": "",
    "SELECT": "<db>",
    "SLOWLOG": "HELP|RESET|<text>|GET <text>|LEN <text>",
    "SWAPDB": "<db> <db>",
    "TIME": "",
    "WAIT": "0 <int>",
    "NOSUCHCOMMAND": "<text>...",
}

LISTS = {
    "LINDEX": "<list> <index>",
    "LINSERT": "<list> (BEFORE|AFTER|<text>) <member> <member>",
    "LLEN": "<list>",
    "LMOVE": "<list> <list> (LEFT|RIGHT|<text>) (LEFT|RIGHT)",
    "LMPOP": "<count> <list>... (LEFT|RIGHT) [COUNT <count>] | 1 <list> (LEFT|RIGHT)",
    "LPOP": "<list> [<count>]",
    "LPOS": "<list> <member> [RANK <index>] [COUNT <index>] [MAXLEN <index>]",
    "LPUSH": "<list> <member>...",
    "LPUSHX": "<list> <member>...",
    "LRANGE": "<list> <index> <index>",
    "LREM": "<list> <index> <member>",
    "LSET": "<list> <index> <member>",
    "LTRIM": "<list> <index> <index>",
    "RPOP": "<list> [<count>]",
    "RPOPLPUSH": "<list> <list>",
    "RPUSH": "<list> <member>...",
    "RPUSHX": "<list> <member>...",
}

HASHES = {
    "HDEL": "<hash> <field>...",
    "HEXISTS": "<hash> <field>",
    "HEXPIRE": "<hash> <seconds> [NX|XX|GT|LT|<text>] (FIELDS 1 <field>|FIELDS 2 <field> <field>|FIELDS <int> <field>)",
    "HEXPIREAT": "<hash> <at> [NX|XX|GT|LT] (FIELDS 1 <field>|FIELDS 2 <field> <field>)",
    "HEXPIRETIME": "<hash> (FIELDS 1 <field>|FIELDS <int> <field>|<text> 1 <field>)",
    "HGET": "<hash> <field>",
    "HGETALL": "<hash>",
    "HGETDEL": "<hash> (FIELDS 1 <field>|FIELDS 2 <field> <field>|FIELDS <int> <field>)",
    "HGETEX": "<hash> [EX <seconds>|PX <milliseconds>|EXAT <at>|PXAT <atms>|PERSIST|<text>] (FIELDS 1 <field>|FIELDS 2 <field> <field>|FIELDS <int> <field>)",
    "HINCRBY": "<hash> <field> <int>",
    "HINCRBYFLOAT": "<hash> <field> <float>",
    "HKEYS": "<hash>",
    "HLEN": "<hash>",
    "HMGET": "<hash> <field>...",
    "HMSET": "<hash> (<field> <value>)...",
    "HPERSIST": "<hash> (FIELDS 1 <field>|FIELDS 2 <field> <field>|FIELDS <int> <field>)",
    "HPEXPIRE": "<hash> <milliseconds> [NX|XX|GT|LT] (FIELDS 1 <field>|FIELDS 2 <field> <field>)",
    "HPEXPIREAT": "<hash> <atms> [NX|XX|GT|LT] (FIELDS 1 <field>|FIELDS 2 <field> <field>|FIELDS <int> <field>)",
    "HPEXPIRETIME": "<hash> FIELDS 1 <field>",
    "HPTTL": "<hash> (FIELDS 1 <field>|<text> 1 <field>)",
    "HRANDFIELD": "<hash> [<pick>] | <hash> <pick> WITHVALUES",
    "HSCAN": "<hash> 0 [MATCH <pattern>] [COUNT 1000] [NOVALUES] | <hash> <text>",
    "HSET": "<hash> (<field> <value>)...",
    "HSETEX": "<hash> [FNX|FXX] [EX <seconds>|PX <milliseconds>|EXAT <at>|PXAT <atms>|KEEPTTL|<text>] (FIELDS 1 <field> <value>|FIELDS 2 <field> <value> <field> <value>)",
    "HSETNX": "<hash> <field> <value>",
    "HSTRLEN": "<hash> <field>",
    "HTTL": "<hash> FIELDS 1 <field>",
    "HVALS": "<hash>",
}

SETS = {
    "SADD": "<set> <member>...",
    "SCARD": "<set>",
    "SDIFF": "<set>...",
    "SDIFFSTORE": "<set> <set>...",
    "SINTER": "<set>...",
    "SINTERCARD": "<count> <set>... [LIMIT <int>] | 1 <set> | 2 <set> <set> [LIMIT <int>]",
    "SINTERSTORE": "<set> <set>...",
    "SISMEMBER": "<set> <member>",
    "SMEMBERS": "<set>",
    "SMISMEMBER": "<set> <member>...",
    "SMOVE": "<set> <set> <member>",
    "SPOP": "<set> 1000",
    "SRANDMEMBER": "<set> [<pick>]",
    "SREM": "<set> <member>...",
    "SSCAN": "<set> 0 [MATCH <pattern>] [COUNT 1000]",
    "SUNION": "<set>...",
    "SUNIONSTORE": "<set> <set>...",
}

ZSETS = {
    "ZADD": "<zset> [NX|XX] [GT|LT] [CH] [INCR] (<score> <member>)... | <zset> (<score> <member>)... | <zset> INCR <score> <member>",
    "ZCARD": "<zset>",
    "ZCOUNT": "<zset> <scorebound> <scorebound>",
    "ZDIFF": "2 <zset> <zset> [WITHSCORES] | <count> <zset>...",
    "ZDIFFSTORE": "<zset> 2 <zset> <zset>",
    "ZINCRBY": "<zset> <score> <member>",
    "ZINTER": "2 <zset> <zset> [WEIGHTS <score> <score>] [AGGREGATE (SUM|MIN|MAX)] [WITHSCORES]",
    "ZINTERCARD": "2 <zset> <zset> [LIMIT <int>] | <count> <zset>...",
    "ZINTERSTORE": "<zset> 2 <zset> <zset> [WEIGHTS <score> <score>] [AGGREGATE (SUM|MIN|MAX)]",
    "ZLEXCOUNT": "<zset> <lexbound> <lexbound>",
    "ZMPOP": "1 <zset> (MIN|MAX) [COUNT <count>] | 2 <zset> <zset> (MIN|MAX)",
    "ZMSCORE": "<zset> <member>...",
    "ZPOPMAX": "<zset> [<count>]",
    "ZPOPMIN": "<zset> [<count>]",
    "ZRANDMEMBER": "<zset> [<pick>] | <zset> <pick> WITHSCORES",
    "ZRANGE": "<zset> <index> <index> [REV] [WITHSCORES] | <zset> <scorebound> <scorebound> BYSCORE [REV] [LIMIT <index> <index>] [WITHSCORES]"
              "| <zset> <lexbound> <lexbound> BYLEX [REV] [LIMIT <index> <index>]",
    "ZRANGEBYLEX": "<zset> <lexbound> <lexbound> [LIMIT <index> <index>]",
    "ZRANGEBYSCORE": "<zset> <scorebound> <scorebound> [WITHSCORES] [LIMIT <index> <index>]",
    "ZRANGESTORE": "<zset> <zset> <index> <index> [REV] | <zset> <zset> <scorebound> <scorebound> BYSCORE [REV]",
    "ZRANK": "<zset> <member> [WITHSCORE]",
    "ZREM": "<zset> <member>...",
    "ZREMRANGEBYLEX": "<zset> <lexbound> <lexbound>",
    "ZREMRANGEBYRANK": "<zset> <index> <index>",
    "ZREMRANGEBYSCORE": "<zset> <scorebound> <scorebound>",
    "ZREVRANGE": "<zset> <index> <index> [WITHSCORES]",
    "ZREVRANGEBYLEX": "<zset> <lexbound> <lexbound>",
    "ZREVRANGEBYSCORE": "<zset> <scorebound> <scorebound> [WITHSCORES]",
    "ZREVRANK": "<zset> <member> [WITHSCORE]",
    "ZSCAN": "<zset> 0 [MATCH <pattern>] [COUNT 1000]",
    "ZSCORE": "<zset> <member>",
    "ZUNION": "2 <zset> (<zset>|<set>) [WEIGHTS <score> <score>] [AGGREGATE (SUM|MIN|MAX)] [WITHSCORES]",
    "ZUNIONSTORE": "<zset> 2 <zset> (<zset>|<set>) [WEIGHTS <score> <score>] [AGGREGATE (SUM|MIN|MAX)]",
}

BITS = {
    "BITCOUNT": "<bit> [<index> <index> [BYTE|BIT]]",
    "BITFIELD": "<bit> (GET <bittype> <bitplace>|SET <bittype> <bitplace> <int>|INCRBY <bittype> <bitplace> <int>|OVERFLOW (WRAP|SAT|FAIL|<text>))...",
    "BITFIELD_RO": "<bit> (GET <bittype> <bitplace>)...",
    "BITOP": "(AND|OR|XOR|DIFF|DIFF1|ANDOR|ONE) <bit> <bit>... | NOT <bit> <bit>",
    "BITPOS": "<bit> <bit> [<index> [<index> [BYTE|BIT]]] | <bit> (0|1) [<index> [<index> [BYTE|BIT]]]",
    "GETBIT": "<bit> <bitoffset>",
    "SETBIT": "<bit> <bitoffset> (0|1|<int>)",
}

HYPERLOGLOGS = {
    "PFADD": "<hll> <member>...",
    "PFCOUNT": "<hll>...",
    "PFDEBUG": "(ENCODING|DECODE|GETREG|TODENSE|<text>) <hll>",
    "PFMERGE": "<hll> <hll>...",
}

GEO = {
    "GEOADD": "<geo> [NX|XX] [CH] (<longitude> <latitude> <member>)...",
    "GEODIST": "<geo> <member> <member> [M|KM|FT|MI|<text>]",
    "GEOHASH": "<geo> <member>...",
    "GEOPOS": "<geo> <member>...",
    "GEORADIUS": "<geo> <longitude> <latitude> <radius> (M|KM) (ASC|DESC) [COUNT <count>] [WITHDIST] [WITHHASH] [WITHCOORD]"
                 "| <geo> <longitude> <latitude> <radius> KM (STORE|STOREDIST) <geo>",
    "GEORADIUSBYMEMBER": "<geo> <member> <radius> (M|KM) (ASC|DESC) [COUNT <count>] [WITHDIST] | <geo> <member> <radius> KM (STORE|STOREDIST) <geo>",
    "GEORADIUSBYMEMBER_RO": "<geo> <member> <radius> (M|KM) (ASC|DESC) [WITHDIST]",
    "GEORADIUS_RO": "<geo> <longitude> <latitude> <radius> (M|KM) (ASC|DESC) [WITHDIST]",
    "GEOSEARCH": "<geo> (FROMMEMBER <member>|FROMLONLAT <longitude> <latitude>) (BYRADIUS <radius> (M|KM)|BYBOX <radius> <radius> KM) (ASC|DESC)"
                 " [COUNT <count>] [WITHDIST] [WITHHASH] [WITHCOORD]",
    "GEOSEARCHSTORE": "<geo> <geo> FROMLONLAT <longitude> <latitude> BYRADIUS <radius> KM [STOREDIST]",
}

SORT = {
    "SORT": "<list> [LIMIT <index> <index>] [ASC|DESC] [ALPHA] | <set> ALPHA | <list> BY nosort GET # | <list> BY s* GET s* ALPHA [STORE <list>]"
            "| <zset> ALPHA [DESC]",
    "SORT_RO": "<list> [LIMIT <index> <index>] [ASC|DESC] [ALPHA] | <list> STORE <list>",
}

SCRIPTS = {
    "EVAL": "<script> 1 <key> <value> | <script> 0 <value> | <script> 2 <key> <key> <value> | <script> <int> <key>",
    "EVAL_RO": "<script> 1 <key> <value> | <script> 0",
    "EVALSHA": "e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0 | <text> 0 | <text> <text>",
    "FCALL": "<text> 0 | <text> <text>",
    "FUNCTION": "DELETE <text>|FLUSH <text>|LIST|STATS|RESTORE <text>|LOAD <text>|KILL|<text>",
    "SCRIPT": "LOAD <script>|EXISTS <text> <text>|FLUSH|FLUSH <text>|KILL|<text>",
}

STREAMS = {
    "XACK": "<stream> <group> <entryid>... | <stream> <group> <text>",
    "XACKDEL": "<stream> <group> [KEEPREF|DELREF|ACKED|<text>] (IDS 1 <entryid>|IDS 2 <entryid> <entryid>|IDS <int> <entryid>) [ACKED]",
    "XADD": "<stream> [NOMKSTREAM] <entryid> (<field> <value>)... | <stream> [NOMKSTREAM] (MAXLEN|MINID) [=|~] (<count>|<entryid>) [LIMIT <int>] <entryid> (<field> <value>)..."
            " | <stream> [KEEPREF|DELREF|ACKED] [MAXLEN [=|~] <count>] <entryid> <field> <value> | <stream> <text> <field> <value> | <stream> <entryid> <field>",
    "XAUTOCLAIM": "<stream> <group> <consumer> (0|100000000|<text>) <rangeid> [COUNT <count>] [JUSTID|<text>]",
    "XCLAIM": "<stream> <group> <consumer> (0|100000000|<text>) <entryid>... [RETRYCOUNT <int>] [FORCE] [JUSTID] [LASTID <entryid>|<text>]",
    "XDEL": "<stream> <entryid>... | <stream> <text>",
    "XDELEX": "<stream> [KEEPREF|DELREF|ACKED|<text>] (IDS 1 <entryid>|IDS 2 <entryid> <entryid>|IDS <int> <entryid>|<text>)",
    "XGROUP": "CREATE <stream> <group> (<entryid>|$) [MKSTREAM] [ENTRIESREAD <int>] | CREATE <stream> <group> (0|$) MKSTREAM | SETID <stream> <group> (<entryid>|$) [ENTRIESREAD <int>]"
              " | DESTROY <stream> <group> | CREATECONSUMER <stream> <group> <consumer> | DELCONSUMER <stream> <group> <consumer> | HELP | <text> <stream>",
    "XINFO": "STREAM <stream> | GROUPS <stream> | HELP | STREAM <stream> <text> | CONSUMERS <stream> <text> | <text>",
    "XLEN": "<stream>",
    "XPENDING": "<stream> <group> | <stream> <group> [IDLE (0|100000000)] <rangeid> <rangeid> <count> [<consumer>] | <stream> <group> <rangeid>",
    "XRANGE": "<stream> <rangeid> <rangeid> [COUNT <index>|<text>]",
    "XREAD": "[COUNT <count>] STREAMS (<stream> (<entryid>|$|<text>)|<stream> <stream> <entryid> <entryid>|<stream> <stream> 0) | COUNT <text> STREAMS <stream> 0",
    "XREADGROUP": "GROUP <group> <consumer> [COUNT <count>] [NOACK] STREAMS (<stream> >|<stream> (<entryid>|$|0)|<stream> <stream> > >|<stream> <stream> >)",
    "XREVRANGE": "<stream> <rangeid> <rangeid> [COUNT <index>|<text>]",
    "XSETID": "<stream> <entryid> [ENTRIESADDED <int>] [MAXDELETEDID <entryid>] | <stream> <text>",
    "XTRIM": "<stream> (MAXLEN|MINID) [=|~] (<count>|<entryid>) [LIMIT <int>] [KEEPREF|DELREF|ACKED] | <stream> <text> <count>",
}

# Every one of them may wait; none is drawn on the last connection, so that somebody can always go on.
BLOCKING = {
    "BLMOVE": "<list> <list> (LEFT|RIGHT) (LEFT|RIGHT) <patience> | <list> <list> <text> LEFT <patience>",
    "BLMPOP": "<patience> 1 <list> (LEFT|RIGHT) [COUNT <count>] | <patience> 2 <list> <list> (LEFT|RIGHT) [COUNT <count>]",
    "BLPOP": "<list> <patience> | <list> <list> <patience> | <list> <zset> <patience>",
    "BRPOP": "<list> <patience> | <list> <list> <patience>",
    "BRPOPLPUSH": "<list> <list> <patience>",
    "BZMPOP": "<patience> 1 <zset> (MIN|MAX) [COUNT <count>] | <patience> 2 <zset> <zset> (MIN|MAX) [COUNT <count>]",
    "BZPOPMAX": "<zset> <patience> | <zset> <zset> <patience>",
    "BZPOPMIN": "<zset> <patience> | <zset> <zset> <patience>",
    "XREAD": "[COUNT <count>] BLOCK <patiencems> STREAMS (<stream> (<entryid>|$)|<stream> <stream> $ $)",
    "XREADGROUP": "GROUP <group> <consumer> [COUNT <count>] BLOCK <patiencems> [NOACK] STREAMS (<stream> >|<stream> <stream> > >)",
}
# What a waiter waits for, and what ends it otherwise; $ID1 stands for the id of that connection.
WAKING = {
    "CLIENT": "UNBLOCK ($ID0|$ID1|$ID2) [TIMEOUT|ERROR|<text>]",
    "LPUSH": "<list> <member>...",
    "RPUSH": "<list> <member>...",
    "XADD": "<stream> <entryid> (<field> <value>)...",
    "XGROUP": "CREATE <stream> <group> $ MKSTREAM | DESTROY <stream> <group>",
    "ZADD": "<zset> (<score> <member>)...",
}

# Family -> (its commands, how often it is drawn).
# Of Valkey 9: asked when it is the peer (`--peers valkey --families newer`).
NEWER = {
    "COMMANDLOG": "LEN (SLOW|LARGE-REQUEST|LARGE-REPLY|<text>)|RESET (SLOW|LARGE-REQUEST|<text>)|GET <int> (LARGE-REPLY|LARGE-REQUEST|<text>)|<text>",
    "DEL": "<key>...",
    "DELIFEQ": "<str> <value>",
    "GEOADD": "<geo> <longitude> <latitude> <member> <longitude> <latitude> <member>",
    "GEOSEARCH": "<geo> BYPOLYGON (3 <longitude> <latitude> <longitude> <latitude> <longitude> <latitude>|<int> <longitude> <latitude> <longitude> <latitude> <longitude> <latitude>) (ASC|DESC)"
                 " [COUNT <count>] [WITHDIST] [WITHCOORD]",
    "GET": "<str>",
    "HGETALL": "<hash>",
    "HSET": "<hash> <field> <value>",
    "HSETEX": "<hash> [NX|XX] [FNX|FXX] [EX <seconds>|KEEPTTL] FIELDS 1 <field> <value>",
    "SADD": "<set> <member>",
    "SET": "<str> <value> [IFEQ <value>] [GET]",
}

FAMILIES = {
    "strings": (STRINGS, 6), "keys": (KEYS, 4), "transactions": (TRANSACTIONS, 2), "connection": (CONNECTION, 2),
    "lists": (LISTS, 4), "hashes": (HASHES, 4), "sets": (SETS, 4), "zsets": (ZSETS, 5), "bits": (BITS, 2),
    "hyperloglogs": (HYPERLOGLOGS, 1), "geo": (GEO, 1), "sort": (SORT, 1), "streams": (STREAMS, 5), "scripts": (SCRIPTS, 3),
    "blocking": (BLOCKING, 3), "waking": (WAKING, 3), "newer": (NEWER, 0),
}
