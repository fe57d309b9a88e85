; The functions of the interpreter, as LLVM's instructions. `interpreter` puts in the numbers of `table_layout` and gives
; the compiled functions by address, in this order.
;
; Each takes the address of its arguments, 64-bit integers. None may raise: nobody is there to hear it.

; Run steps of a table of calls.
; p = (the table, its rows, steps, the step's cell, what says "halt", where to say how many were run)
define void @bp_run_table(ptr %p) "no-builtins" {
entry:
  %table = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %rows = load i64, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %steps = load i64, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %cell = load ptr, ptr %p3
  %p4 = getelementptr i64, ptr %p, i64 4
  %halted = load ptr, ptr %p4
  %p5 = getelementptr i64, ptr %p, i64 5
  %report = load ptr, ptr %p5
  %none = icmp slt i64 %steps, 1
  br i1 %none, label %end, label %step

step:
  %done = phi i64 [ 0, %entry ], [ %done.next, %again ]
  call void @rows(ptr %table, i64 %rows)
  %number = load i64, ptr %cell
  %number.next = add nsw i64 %number, 1
  store i64 %number.next, ptr %cell
  %done.next = add nsw i64 %done, 1
  %all = icmp eq i64 %done.next, %steps
  br i1 %all, label %end, label %again

again:
  %said = load i8, ptr %halted
  %halt = icmp ne i8 %said, 0
  br i1 %halt, label %end, label %step

end:
  %ran = phi i64 [ 0, %entry ], [ %done.next, %step ], [ %done.next, %again ]
  store i64 %ran, ptr %report
  ret void
}

; Run jobs at the same time, each on a thread: p = (exec_blas, count, the first job)
define void @bp_together(ptr %p) "no-builtins" {
  %execute = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %count = load i64, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %jobs = load ptr, ptr %p2
  %ignored = call i32 %execute(i64 %count, ptr %jobs)
  ret void
}

; Call a function in the floating-point environment of another thread.
; p = (fegetenv or 0, fesetenv, room for this thread's environment, the other one, the function, its arguments)
define void @bp_as_given(ptr %p) "no-builtins" {
entry:
  %get = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %set = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %own = load ptr, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %other = load ptr, ptr %p3
  %p4 = getelementptr i64, ptr %p, i64 4
  %function = load ptr, ptr %p4
  %arguments = getelementptr i64, ptr %p, i64 5
  %unknown = icmp eq ptr %get, null
  br i1 %unknown, label %as.it.is, label %within

as.it.is:
  call void %function(ptr %arguments)
  ret void

within:
  %got = call i32 %get(ptr %own)
  %changed = call i32 %set(ptr %other)
  call void %function(ptr %arguments)
  %restored = call i32 %set(ptr %own)
  ret void
}

; Call a function whose arguments lie elsewhere: p = (the function, their address)
define void @bp_elsewhere(ptr %p) "no-builtins" {
  %function = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %arguments = load ptr, ptr %p1
  call void %function(ptr %arguments)
  ret void
}

; Run one of NumPy's loops: p = (loop, context, auxiliary, 3 data pointers, 4 dimensions, 9 strides, room for 3)
define void @bp_strided(ptr %p) "no-builtins" {
  call void @strided(ptr %p)
  ret void
}

; Copy rows of a step's batch.
; p = (target, source, order or 0, step's cell, rows, bytes per row, order's itemsize, rows of the batch, first of them)
define void @bp_take_rows(ptr %p) "no-builtins" {
entry:
  %target = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %source = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %order = load ptr, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %cell = load ptr, ptr %p3
  %p4 = getelementptr i64, ptr %p, i64 4
  %rows = load i64, ptr %p4
  %p5 = getelementptr i64, ptr %p, i64 5
  %width = load i64, ptr %p5
  %p6 = getelementptr i64, ptr %p, i64 6
  %itemsize = load i64, ptr %p6
  %p7 = getelementptr i64, ptr %p, i64 7
  %batch = load i64, ptr %p7
  %p8 = getelementptr i64, ptr %p, i64 8
  %shift = load i64, ptr %p8
  %step = load i64, ptr %cell
  %before = mul nsw i64 %step, %batch
  %first = add nsw i64 %before, %shift
  %none = icmp slt i64 %rows, 1
  br i1 %none, label %end, label %row

row:
  %r = phi i64 [ 0, %entry ], [ %r.next, %take ]
  %number = add nsw i64 %first, %r
  switch i64 %itemsize, label %take [
    i64 8, label %wide
    i64 4, label %short
  ]

wide:
  %wide.at = getelementptr i64, ptr %order, i64 %number
  %wide.place = load i64, ptr %wide.at
  br label %take

short:
  %short.at = getelementptr i32, ptr %order, i64 %number
  %short.place = load i32, ptr %short.at
  %extended = sext i32 %short.place to i64
  br label %take

take:
  %place = phi i64 [ %number, %row ], [ %wide.place, %wide ], [ %extended, %short ]
  %from = mul nsw i64 %place, %width
  %line = getelementptr i8, ptr %source, i64 %from
  %to = mul nsw i64 %r, %width
  %room = getelementptr i8, ptr %target, i64 %to
  call void @copy(ptr %room, ptr %line, i64 %width)
  %r.next = add nsw i64 %r, 1
  %over = icmp eq i64 %r.next, %rows
  br i1 %over, label %end, label %row

end:
  ret void
}

; Append one element to a report: p = (report, element, step's cell, bytes)
define void @bp_put_report(ptr %p) "no-builtins" {
  %report = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %element = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %cell = load ptr, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %bytes = load i64, ptr %p3
  %step = load i64, ptr %cell
  %to = mul nsw i64 %step, %bytes
  %room = getelementptr i8, ptr %report, i64 %to
  call void @copy(ptr %room, ptr %element, i64 %bytes)
  ret void
}

; Copy lines of bytes: p = (target, source, lines, bytes per line, target's stride, source's stride)
define void @bp_copy_block(ptr %p) "no-builtins" {
entry:
  %target = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %source = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %lines = load i64, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %bytes = load i64, ptr %p3
  %p4 = getelementptr i64, ptr %p, i64 4
  %down = load i64, ptr %p4
  %p5 = getelementptr i64, ptr %p, i64 5
  %source.down = load i64, ptr %p5
  %none = icmp slt i64 %lines, 1
  br i1 %none, label %end, label %line

line:
  %k = phi i64 [ 0, %entry ], [ %k.next, %line ]
  %to = mul nsw i64 %k, %down
  %room = getelementptr i8, ptr %target, i64 %to
  %from = mul nsw i64 %k, %source.down
  %taken = getelementptr i8, ptr %source, i64 %from
  call void @copy(ptr %room, ptr %taken, i64 %bytes)
  %k.next = add nsw i64 %k, 1
  %over = icmp eq i64 %k.next, %lines
  br i1 %over, label %end, label %line

end:
  ret void
}

; Reduce each line with one of NumPy's loops. With skip 0 a line starts from 0, with skip 1 from its first element.
; p = (target, source, lines, length, itemsize, skip, loop, context, auxiliary, room for seven integers)
define void @bp_reduce_lines(ptr %p) "no-builtins" {
entry:
  %target = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %source = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %lines = load i64, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %length = load i64, ptr %p3
  %p4 = getelementptr i64, ptr %p, i64 4
  %item = load i64, ptr %p4
  %p5 = getelementptr i64, ptr %p, i64 5
  %skip = load i64, ptr %p5
  %loop = getelementptr i64, ptr %p, i64 6
  %p9 = getelementptr i64, ptr %p, i64 9
  %room = load ptr, ptr %p9
  %left = sub nsw i64 %length, %skip
  %width = mul nsw i64 %length, %item
  %empty = icmp slt i64 %lines, 1
  br i1 %empty, label %end, label %line

line:
  %r = phi i64 [ 0, %entry ], [ %r.next, %line.end ]
  %to = mul nsw i64 %r, %item
  %out = getelementptr i8, ptr %target, i64 %to
  %from = mul nsw i64 %r, %width
  %first = getelementptr i8, ptr %source, i64 %from
  call void @begin(ptr %out, ptr %first, i64 %item, i64 %skip)
  %more = icmp sgt i64 %left, 0
  br i1 %more, label %reduce, label %line.end

reduce:
  %skipped = mul nsw i64 %skip, %item
  %rest = getelementptr i8, ptr %first, i64 %skipped
  call void @reduce(ptr %loop, ptr %room, ptr %out, ptr %rest, i64 %left, i64 0, i64 %item)
  br label %line.end

line.end:
  %r.next = add nsw i64 %r, 1
  %over = icmp eq i64 %r.next, %lines
  br i1 %over, label %end, label %line

end:
  ret void
}

; Reduce the rows of each block to one, row after row, with one of NumPy's loops.
; With skip 0 a block starts from 0, with skip 1 from its first row.
; p = (target, source, blocks, rows, columns, itemsize, skip, loop, context, auxiliary, room for seven integers)
define void @bp_reduce_blocks(ptr %p) "no-builtins" {
entry:
  %target = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %source = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %blocks = load i64, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %rows = load i64, ptr %p3
  %p4 = getelementptr i64, ptr %p, i64 4
  %columns = load i64, ptr %p4
  %p5 = getelementptr i64, ptr %p, i64 5
  %item = load i64, ptr %p5
  %p6 = getelementptr i64, ptr %p, i64 6
  %skip = load i64, ptr %p6
  %loop = getelementptr i64, ptr %p, i64 7
  %p10 = getelementptr i64, ptr %p, i64 10
  %room = load ptr, ptr %p10
  %width = mul nsw i64 %columns, %item
  %size = mul nsw i64 %rows, %width
  %empty = icmp slt i64 %blocks, 1
  br i1 %empty, label %end, label %block

block:
  %k = phi i64 [ 0, %entry ], [ %k.next, %block.end ]
  %to = mul nsw i64 %k, %width
  %out = getelementptr i8, ptr %target, i64 %to
  %from = mul nsw i64 %k, %size
  %first = getelementptr i8, ptr %source, i64 %from
  call void @begin(ptr %out, ptr %first, i64 %width, i64 %skip)
  %more = icmp slt i64 %skip, %rows
  br i1 %more, label %row, label %block.end

row:
  %r = phi i64 [ %skip, %block ], [ %r.next, %row ]
  %down = mul nsw i64 %r, %width
  %line = getelementptr i8, ptr %first, i64 %down
  call void @reduce(ptr %loop, ptr %room, ptr %out, ptr %line, i64 %columns, i64 %item, i64 %item)
  %r.next = add nsw i64 %r, 1
  %over = icmp eq i64 %r.next, %rows
  br i1 %over, label %block.end, label %row

block.end:
  %k.next = add nsw i64 %k, 1
  %all = icmp eq i64 %k.next, %blocks
  br i1 %all, label %end, label %block

end:
  ret void
}

; Run the turns of a loop over shards, each a table of calls, and tell it where the shard's rows begin.
; p = (the turns, their number, the step's cell, rows of a step or 0, the loop's cell, where the first row's place goes)
; A turn is (its table, the table's rows, the shard's first row among those of the step, its place in the batch).
define void @bp_run_turns(ptr %p) "no-builtins" {
entry:
  %turns = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %count = load i64, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %cell = load ptr, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %batch = load i64, ptr %p3
  %p4 = getelementptr i64, ptr %p, i64 4
  %own = load ptr, ptr %p4
  %p5 = getelementptr i64, ptr %p, i64 5
  %place = load ptr, ptr %p5
  %step = load i64, ptr %cell
  %before = mul nsw i64 %step, %batch
  br label %turn

turn:
  %k = phi i64 [ 0, %entry ], [ %k.next, %turn ]
  %word = mul nsw i64 %k, $TURN
  %at = getelementptr i64, ptr %turns, i64 %word
  %table = load ptr, ptr %at
  %at1 = getelementptr i64, ptr %at, i64 1
  %rows = load i64, ptr %at1
  %at2 = getelementptr i64, ptr %at, i64 2
  %begin = load i64, ptr %at2
  %at3 = getelementptr i64, ptr %at, i64 3
  %first = load i64, ptr %at3
  %number = add nsw i64 %before, %begin
  store i64 %number, ptr %own
  %short = trunc i64 %first to i32
  store i32 %short, ptr %place
  call void @rows(ptr %table, i64 %rows)
  %k.next = add nsw i64 %k, 1
  %over = icmp eq i64 %k.next, %count
  br i1 %over, label %end, label %turn

end:
  ret void
}

; Make the calls of a table, of which there is at least one.
define internal void @rows(ptr %table, i64 %count) alwaysinline "no-builtins" {
entry:
  br label %row

row:
  %k = phi i64 [ 0, %entry ], [ %k.next, %row.end ]
  %first = mul nsw i64 %k, $ROW
  %at = getelementptr i64, ptr %table, i64 %first
  %function = load ptr, ptr %at
  %arguments = getelementptr i64, ptr %at, i64 1
  %numpys = icmp eq ptr %function, null
  br i1 %numpys, label %loop, label %call

call:
  call void %function(ptr %arguments)
  br label %row.end

loop:
  call void @strided(ptr %arguments)
  br label %row.end

row.end:
  %k.next = add nsw i64 %k, 1
  %over = icmp eq i64 %k.next, %count
  br i1 %over, label %end, label %row

end:
  ret void
}

; See bp_strided. NumPy's products move the pointers that they are given: each call needs them as they were.
define internal void @strided(ptr %p) alwaysinline "no-builtins" {
  %loop = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %context = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %auxiliary = load ptr, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %p4 = getelementptr i64, ptr %p, i64 4
  %p5 = getelementptr i64, ptr %p, i64 5
  %dimensions = getelementptr i64, ptr %p, i64 6
  %strides = getelementptr i64, ptr %p, i64 10
  %a = load i64, ptr %p3
  %b = load i64, ptr %p4
  %c = load i64, ptr %p5
  %moved = getelementptr i64, ptr %p, i64 $MOVED
  %moved1 = getelementptr i64, ptr %moved, i64 1
  %moved2 = getelementptr i64, ptr %moved, i64 2
  store i64 %a, ptr %moved
  store i64 %b, ptr %moved1
  store i64 %c, ptr %moved2
  %ignored = call i32 %loop(ptr %context, ptr %moved, ptr %dimensions, ptr %strides, ptr %auxiliary)
  ret void
}

; Reduce `count` elements of a line into `out`, by one of NumPy's loops, its context and its auxiliary data at `loop`.
define internal void @reduce(ptr %loop, ptr %room, ptr %out, ptr %line, i64 %count, i64 %out.step, i64 %step)
    alwaysinline "no-builtins" {
  %function = load ptr, ptr %loop
  %loop1 = getelementptr i64, ptr %loop, i64 1
  %context = load ptr, ptr %loop1
  %loop2 = getelementptr i64, ptr %loop, i64 2
  %auxiliary = load ptr, ptr %loop2
  %room1 = getelementptr i64, ptr %room, i64 1
  %room2 = getelementptr i64, ptr %room, i64 2
  %dimensions = getelementptr i64, ptr %room, i64 3
  %strides = getelementptr i64, ptr %room, i64 4
  %room5 = getelementptr i64, ptr %room, i64 5
  %room6 = getelementptr i64, ptr %room, i64 6
  store ptr %out, ptr %room
  store ptr %line, ptr %room1
  store ptr %out, ptr %room2
  store i64 %count, ptr %dimensions
  store i64 %out.step, ptr %strides
  store i64 %step, ptr %room5
  store i64 %out.step, ptr %room6
  %ignored = call i32 %function(ptr %context, ptr %room, ptr %dimensions, ptr %strides, ptr %auxiliary)
  ret void
}

; Begin a reduction: with the first elements where one is skipped, else with zeros.
define internal void @begin(ptr %out, ptr %first, i64 %bytes, i64 %skip) alwaysinline "no-builtins" {
entry:
  %taken = icmp ne i64 %skip, 0
  br i1 %taken, label %take, label %zero

take:
  call void @copy(ptr %out, ptr %first, i64 %bytes)
  ret void

zero:
  %k = phi i64 [ 0, %entry ], [ %k.next, %zero ]
  %at = getelementptr i8, ptr %out, i64 %k
  store i8 0, ptr %at
  %k.next = add nuw nsw i64 %k, 1
  %over = icmp eq i64 %k.next, %bytes
  br i1 %over, label %end, label %zero, !llvm.loop !0

end:
  ret void
}

; Copy bytes, four by four where they come so. Compiled once: it takes longer than all the rest.
define internal void @copy(ptr noalias %target, ptr noalias %source, i64 %bytes) noinline "no-builtins" {
entry:
  %none = icmp slt i64 %bytes, 1
  br i1 %none, label %end, label %some

some:
  %odd = and i64 %bytes, 3
  %bytewise = icmp ne i64 %odd, 0
  br i1 %bytewise, label %byte, label %words

words:
  %count = lshr exact i64 %bytes, 2
  br label %word

word:
  %w = phi i64 [ 0, %words ], [ %w.next, %word ]
  %word.from = getelementptr i32, ptr %source, i64 %w
  %word.to = getelementptr i32, ptr %target, i64 %w
  %word.value = load i32, ptr %word.from, align 1
  store i32 %word.value, ptr %word.to, align 1
  %w.next = add nuw nsw i64 %w, 1
  %w.over = icmp eq i64 %w.next, %count
  br i1 %w.over, label %end, label %word

byte:
  %b = phi i64 [ 0, %some ], [ %b.next, %byte ]
  %byte.from = getelementptr i8, ptr %source, i64 %b
  %byte.to = getelementptr i8, ptr %target, i64 %b
  %byte.value = load i8, ptr %byte.from
  store i8 %byte.value, ptr %byte.to
  %b.next = add nuw nsw i64 %b, 1
  %b.over = icmp eq i64 %b.next, %bytes
  br i1 %b.over, label %end, label %byte, !llvm.loop !0

end:
  ret void
}

; One after another: there are few, and vectors take their time to compile.
!0 = distinct !{!0, !1, !2}
!1 = !{!"llvm.loop.vectorize.enable", i1 false}
!2 = !{!"llvm.loop.unroll.disable"}
