# In place of a replica's link, while the server under test has none: the newest increment of its append-only file, which
# holds the same commands in the same order. The suite's own procedures read it: a file's end is a link's silence.
# Read by the private copy of the suite's test_helper.tcl, behind its own definitions (see tree.py).

proc attach_to_replication_stream {} {
    set ::stream_appendonly [lindex [r config get appendonly] 1]
    if {$::stream_appendonly eq {yes}} {
        # A new increment begins with a SELECT, as a link does.
        waitForBgrewriteaof r
        r bgrewriteaof
    } else {
        r config set appendonly yes
    }
    waitForBgrewriteaof r
    set dir [file join [lindex [r config get dir] 1] [lindex [r config get appenddirname] 1]]
    set increments [lsort -dictionary [glob -directory $dir *.incr.aof]]
    set s [open [lindex $increments end] rb]
    seek $s 0 end
    return $s
}

proc close_replication_stream {s} {
    close $s
    r config set appendonly $::stream_appendonly
    return
}
