//! What stands between stock Lua 5.1.5 and a VM that survives hostile scripts: `(file, what stands there, what is put in
//! its place)`. Read by `build.rs` alone; each must match exactly once. Facts and measurements behind them: the fixes of
//! CVE-2025-49844, -46817, -46818 and -46819, bytecode never undumped, and loops of the library that count towards the
//! count hook, so that a script can be stopped wherever it is.

/// The hunks, grouped by what they are for.
#[rustfmt::skip] // one hunk a line
pub const HUNKS: &[(&str, &str, &str)] = &[
    // read-only flag on tables
    ("lobject.h", "  lu_byte lsizenode;  /* log2", "  lu_byte readonly;\n  lu_byte lsizenode;  /* log2"),
    ("ltable.c", "  t->lsizenode = 0;\n  t->node", "  t->lsizenode = 0;\n  t->readonly = 0;\n  t->node"),
    ("lvm.c", "      TValue *oldval = luaH_set(L, h, key); /* do a primitive set */", "      TValue *oldval;\n      if (h->readonly) luaG_runerror(L, \"Attempt to modify a readonly table\");\n      oldval = luaH_set(L, h, key);"),
    ("lapi.c", "  api_check(L, ttistable(t));\n  setobj2t(L, luaH_set(L, hvalue(t), L->top-2), L->top-1);", "  if (hvalue(t)->readonly) luaG_runerror(L, \"Attempt to modify a readonly table\");\n  setobj2t(L, luaH_set(L, hvalue(t), L->top-2), L->top-1);"),
    ("lapi.c", "  api_check(L, ttistable(o));\n  setobj2t(L, luaH_setnum(L, hvalue(o), n), L->top-1);", "  if (hvalue(o)->readonly) luaG_runerror(L, \"Attempt to modify a readonly table\");\n  setobj2t(L, luaH_setnum(L, hvalue(o), n), L->top-1);"),
    ("lapi.c", "      hvalue(obj)->metatable = mt;", "      if (hvalue(obj)->readonly) luaG_runerror(L, \"Attempt to modify a readonly table\");\n      hvalue(obj)->metatable = mt;"),
    ("lapi.c", "LUA_API const char *lua_getupvalue", "LUA_API void memkv_readonly (lua_State *L, int i, int on) { hvalue(index2adr(L, i))->readonly = cast_byte(on); }\nLUA_API int memkv_is_readonly (lua_State *L, int i) { return hvalue(index2adr(L, i))->readonly; }\n\nLUA_API const char *lua_getupvalue"),
    // CVE-2025-49844: the chunk's name stays anchored while the chunk is parsed
    ("lparser.c", "  luaX_setinput(L, &lexstate, z, luaS_new(L, name));", "  TString *tname = luaS_new(L, name);\n  setsvalue2s(L, L->top, tname); incr_top(L);\n  luaX_setinput(L, &lexstate, z, tname);"),
    ("lparser.c", "  close_func(&lexstate);\n  lua_assert(funcstate.prev == NULL);", "  close_func(&lexstate);\n  --L->top;\n  lua_assert(funcstate.prev == NULL);"),
    // CVE-2025-46817: unpack's range and the array test of int keys
    ("lbaselib.c", "  n = e - i + 1;  /* number of elements */", "  if ((double)e - (double)i >= 2147483647.0) return luaL_error(L, \"too many results to unpack\");\n  n = e - i + 1;"),
    ("ltable.c", "  if (cast(unsigned int, key-1) < cast(unsigned int, t->sizearray))", "  if (1 <= key && key <= t->sizearray)"),
    // CVE-2025-46819: levels of a long bracket counted without wrap (a cap on the script's size does the same)
    ("llex.c", "    count++;\n  }\n  return (ls->current == s)", "    if (++count > 1000000) luaX_lexerror(ls, \"invalid long string delimiter\", TK_STRING);\n  }\n  return (ls->current == s)"),
    ("luaconf.h", "#define LUA_COMPAT_LSTR\t\t1", "#undef LUA_COMPAT_LSTR"), // as a Redis with that fix behaves: [[ inside [[ ]] is text
    // bytecode refused
    ("ldo.c", "  int c = luaZ_lookahead(p->z);", "  luaZ_lookahead(p->z);"),
    ("ldo.c", "((c == LUA_SIGNATURE[0]) ? luaU_undump : luaY_parser)", "luaY_parser"),
    // a kill passes every pcall, runs no handler of the script's, and is seen inside the library's own loops too
    ("lstate.h", "  lu_byte gcstate;  /* state of garbage collector */", "  lu_byte killed;\n  lu_byte gcstate;"),
    ("lstate.c", "  g->gcstate = GCSpause;", "  g->killed = 0;\n  g->gcstate = GCSpause;"),
    ("lua.h", "LUA_API int lua_sethook", "LUA_API void memkv_ticks (lua_State *L, int n);\nLUA_API int memkv_killed (lua_State *L);\nLUA_API int lua_sethook"),
    ("ldebug.c", "LUA_API int lua_sethook", "void memkv_ticks (lua_State *L, int n) {\n  if ((L->hookmask & LUA_MASKCOUNT) && (L->hookcount -= n) <= 0) { resethookcount(L); luaD_callhook(L, LUA_HOOKCOUNT, -1); }\n}\nint memkv_killed (lua_State *L) { return G(L)->killed; }\nvoid memkv_kill (lua_State *L, int on) { G(L)->killed = (lu_byte)on; }\nvoid memkv_nest (lua_State *L, int n) { L->nCcalls += n; }\nLUA_API int lua_sethook"),
    ("ldebug.c", "  if (L->errfunc != 0) {", "  if (L->errfunc != 0 && !G(L)->killed) {"),
    ("lbaselib.c", "  status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);", "  status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);\n  if (status && memkv_killed(L)) return lua_error(L);"),
    ("lbaselib.c", "  status = lua_pcall(L, 0, LUA_MULTRET, 1);", "  status = lua_pcall(L, 0, LUA_MULTRET, 1);\n  if (status && memkv_killed(L)) return lua_error(L);"),
    ("lbaselib.c", "  if (r < 0) {\n    lua_pushboolean(L, 0);", "  if (r < 0) {\n    if (memkv_killed(L)) return lua_error(L);\n    lua_pushboolean(L, 0);"),
    ("lstrlib.c", "  int level;  /* total number of captures (finished or unfinished) */", "  int level, steps, depth;"),
    ("lstrlib.c", "static const char *match (MatchState *ms, const char *s, const char *p) {\n  init: /* using goto's to optimize tail recursion */", "static const char *do_match (MatchState *ms, const char *s, const char *p);\n#define STEP(ms, n) if (((ms)->steps += (n)) >= 256) { memkv_ticks((ms)->L, (ms)->steps); (ms)->steps = 0; }\nstatic const char *match (MatchState *ms, const char *s, const char *p) {\n  const char *r;\n  if (++ms->depth > 1000) luaL_error(ms->L, \"pattern too complex\");\n  r = do_match(ms, s, p); ms->depth--; return r;\n}\nstatic const char *do_match (MatchState *ms, const char *s, const char *p) {\n  init: STEP(ms, 1)"),
    ("lstrlib.c", "  /* keeps trying to match with the maximum repetitions */", "  ms->steps += (int)(i >> 3);"),
    ("lstrlib.c", "    ms.L = L;\n    ms.src_init", "    ms.L = L; ms.steps = ms.depth = 0;\n    ms.src_init"),
    ("lstrlib.c", "  const char *src;\n  ms.L = L;", "  const char *src;\n  ms.L = L; ms.steps = ms.depth = 0;"),
    ("lstrlib.c", "  ms.L = L;\n  ms.src_init = src;", "  ms.L = L; ms.steps = ms.depth = 0;\n  ms.src_init = src;"),
    ("lstrlib.c", "  while (n-- > 0)\n    luaL_addlstring(&b, s, l);", "  while (n-- > 0) {\n    if (!(n & 255)) memkv_ticks(L, 256);\n    luaL_addlstring(&b, s, l);\n  }"),
    ("ltablib.c", "      for (i = e; i > pos; i--) {  /* move up elements */", "      for (i = e; i > pos; i--) {\n        if (!(i & 255)) memkv_ticks(L, 256);"),
    ("ltablib.c", "static int sort_comp (lua_State *L, int a, int b) {", "static int sort_comp (lua_State *L, int a, int b) {\n  memkv_ticks(L, 1);"),
    ("lcode.c", "    while ((next = getjump(fs, list)) != NO_JUMP)  /* find last element */", "    while ((next = getjump(fs, list)) != NO_JUMP && (memkv_ticks(fs->L, 1), 1))"),
    // 200 nested C calls then fit a stack of 512 KiB (with BUFSIZ they need over 1 MiB)
    ("luaconf.h", "#define LUAL_BUFFERSIZE\t\tBUFSIZ", "#define LUAL_BUFFERSIZE\t\t1024"),
    // a run has one call of our own around the script: the limit that scripts meet stays 20,000
    ("luaconf.h", "#define LUAI_MAXCALLS\t20000", "#define LUAI_MAXCALLS\t20001"),
    // every byte of a string enters its hash
    ("lstring.c", "  size_t step = (l>>5)+1;", "  size_t step = 1;"),
];
