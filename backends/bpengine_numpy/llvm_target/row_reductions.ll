; Reductions of short rows, as NumPy's own loops give them to the last bit; `row_reductions` puts in the element's type.
;
; p = (target, source, rows, length of a row, then as `reduce_lines` has it: itemsize, skip, loop, context, auxiliary, room)

; Sums of rows of at most 128 elements in NumPy's pairwise order (numpy/_core/src/umath/loops_utils.h.src): eight sums, each
; of every eighth element, added in pairs; then what is left, one by one; fewer than eight elements one by one from -0.
define void @bp_add(ptr %p) "no-builtins" {
entry:
  %target = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %source = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %rows = load i64, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %length = load i64, ptr %p3
  %whole = and i64 %length, -8
  %short = icmp slt i64 %length, 8
  %none = icmp slt i64 %rows, 1
  br i1 %none, label %end, label %row

row:
  %r = phi i64 [ 0, %entry ], [ %r.next, %row.end ]
  %begin = mul nsw i64 %r, %length
  %line = getelementptr $T, ptr %source, i64 %begin
  br i1 %short, label %rest, label %eight

eight:
  %first = load <8 x $T>, ptr %line, align $SIZE
  %one.block = icmp eq i64 %whole, 8
  br i1 %one.block, label %paired, label %block

block:
  %b = phi i64 [ 8, %eight ], [ %b.next, %block ]
  %sums = phi <8 x $T> [ %first, %eight ], [ %sums.next, %block ]
  %block.at = getelementptr $T, ptr %line, i64 %b
  %block.values = load <8 x $T>, ptr %block.at, align $SIZE
  %sums.next = fadd <8 x $T> %sums, %block.values
  %b.next = add nuw nsw i64 %b, 8
  %b.over = icmp eq i64 %b.next, %whole
  br i1 %b.over, label %paired, label %block

paired:
  %all = phi <8 x $T> [ %first, %eight ], [ %sums.next, %block ]
  %even = shufflevector <8 x $T> %all, <8 x $T> poison, <4 x i32> <i32 0, i32 2, i32 4, i32 6>
  %odd = shufflevector <8 x $T> %all, <8 x $T> poison, <4 x i32> <i32 1, i32 3, i32 5, i32 7>
  %four = fadd <4 x $T> %even, %odd
  %four.even = shufflevector <4 x $T> %four, <4 x $T> poison, <2 x i32> <i32 0, i32 2>
  %four.odd = shufflevector <4 x $T> %four, <4 x $T> poison, <2 x i32> <i32 1, i32 3>
  %two = fadd <2 x $T> %four.even, %four.odd
  %left = extractelement <2 x $T> %two, i64 0
  %right = extractelement <2 x $T> %two, i64 1
  %pairs = fadd $T %left, %right
  %complete = icmp eq i64 %whole, %length
  br i1 %complete, label %row.end, label %rest

rest:
  %k = phi i64 [ 0, %row ], [ %whole, %paired ], [ %k.next, %rest ]
  %sum = phi $T [ -0.0, %row ], [ %pairs, %paired ], [ %sum.next, %rest ]
  %at = getelementptr $T, ptr %line, i64 %k
  %value = load $T, ptr %at
  %sum.next = fadd $T %sum, %value
  %k.next = add nuw nsw i64 %k, 1
  %k.over = icmp eq i64 %k.next, %length
  br i1 %k.over, label %row.end, label %rest

row.end:
  %total = phi $T [ %pairs, %paired ], [ %sum.next, %rest ]
  %from.zero = fadd $T %total, 0.0
  %out = getelementptr $T, ptr %target, i64 %r
  store $T %from.zero, ptr %out
  %r.next = add nuw nsw i64 %r, 1
  %over = icmp eq i64 %r.next, %rows
  br i1 %over, label %end, label %row

end:
  ret void
}

; The largest elements of rows. Which of 0 and -0, and which NaN, depends on NumPy's order: such rows are left to its loop.
define void @bp_maximum(ptr %p) "no-builtins" {
entry:
  %target = load ptr, ptr %p
  %p1 = getelementptr i64, ptr %p, i64 1
  %source = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p, i64 2
  %rows = load i64, ptr %p2
  %p3 = getelementptr i64, ptr %p, i64 3
  %length = load i64, ptr %p3
  %loop.p = getelementptr i64, ptr %p, i64 6
  %loop = load ptr, ptr %loop.p
  %context.p = getelementptr i64, ptr %p, i64 7
  %context = load ptr, ptr %context.p
  %auxiliary.p = getelementptr i64, ptr %p, i64 8
  %auxiliary = load ptr, ptr %auxiliary.p
  %room.p = getelementptr i64, ptr %p, i64 9
  %room = load ptr, ptr %room.p
  %last = sub nsw i64 %length, 8
  %short = icmp slt i64 %length, 8
  %none = icmp slt i64 %rows, 1
  br i1 %none, label %end, label %row

row:
  %r = phi i64 [ 0, %entry ], [ %r.next, %row.end ]
  %begin = mul nsw i64 %r, %length
  %line = getelementptr $T, ptr %source, i64 %begin
  %out = getelementptr $T, ptr %target, i64 %r
  br i1 %short, label %single, label %eight

; blocks of eight, the last of which may lie over the one before it: an element that is seen twice changes nothing
eight:
  %b = phi i64 [ 0, %row ], [ %b.next, %eight ]
  %most = phi <8 x $T> [ splat ($T $LOWEST), %row ], [ %most.next, %eight ]
  %nans = phi <8 x i1> [ zeroinitializer, %row ], [ %nans.next, %eight ]
  %behind = icmp sgt i64 %b, %last
  %block.place = select i1 %behind, i64 %last, i64 %b
  %block.at = getelementptr $T, ptr %line, i64 %block.place
  %values = load <8 x $T>, ptr %block.at, align $SIZE
  %more = fcmp ogt <8 x $T> %values, %most
  %most.next = select <8 x i1> %more, <8 x $T> %values, <8 x $T> %most
  %unordered = fcmp uno <8 x $T> %values, %values
  %nans.next = or <8 x i1> %nans, %unordered
  %b.next = add nuw nsw i64 %b, 8
  %b.over = icmp sge i64 %b.next, %length
  br i1 %b.over, label %folded, label %eight

folded:
  %high = shufflevector <8 x $T> %most.next, <8 x $T> poison, <4 x i32> <i32 4, i32 5, i32 6, i32 7>
  %low = shufflevector <8 x $T> %most.next, <8 x $T> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  %four.more = fcmp ogt <4 x $T> %high, %low
  %four = select <4 x i1> %four.more, <4 x $T> %high, <4 x $T> %low
  %four.high = shufflevector <4 x $T> %four, <4 x $T> poison, <2 x i32> <i32 2, i32 3>
  %four.low = shufflevector <4 x $T> %four, <4 x $T> poison, <2 x i32> <i32 0, i32 1>
  %two.more = fcmp ogt <2 x $T> %four.high, %four.low
  %two = select <2 x i1> %two.more, <2 x $T> %four.high, <2 x $T> %four.low
  %left = extractelement <2 x $T> %two, i64 0
  %right = extractelement <2 x $T> %two, i64 1
  %one.more = fcmp ogt $T %left, %right
  %one = select i1 %one.more, $T %left, $T %right
  %bits = bitcast <8 x i1> %nans.next to i8
  %any = icmp ne i8 %bits, 0
  br label %found

single:
  %k = phi i64 [ 0, %row ], [ %k.next, %single ]
  %largest = phi $T [ $LOWEST, %row ], [ %largest.next, %single ]
  %nan = phi i1 [ false, %row ], [ %nan.next, %single ]
  %at = getelementptr $T, ptr %line, i64 %k
  %value = load $T, ptr %at
  %value.more = fcmp ogt $T %value, %largest
  %largest.next = select i1 %value.more, $T %value, $T %largest
  %value.nan = fcmp uno $T %value, %value
  %nan.next = or i1 %nan, %value.nan
  %k.next = add nuw nsw i64 %k, 1
  %k.over = icmp eq i64 %k.next, %length
  br i1 %k.over, label %found, label %single

found:
  %maximum = phi $T [ %one, %folded ], [ %largest.next, %single ]
  %has.nan = phi i1 [ %any, %folded ], [ %nan.next, %single ]
  %zero = fcmp oeq $T %maximum, 0.0
  %doubtful = or i1 %zero, %has.nan
  br i1 %doubtful, label %numpys, label %plain

plain:
  store $T %maximum, ptr %out
  br label %row.end

numpys:
  %start = load $T, ptr %line
  store $T %start, ptr %out
  %left.over = sub nsw i64 %length, 1
  %others = icmp sgt i64 %left.over, 0
  br i1 %others, label %reduce, label %row.end

reduce:
  %second = getelementptr $T, ptr %line, i64 1
  %room1 = getelementptr i64, ptr %room, i64 1
  %room2 = getelementptr i64, ptr %room, i64 2
  %room3 = getelementptr i64, ptr %room, i64 3
  %room4 = getelementptr i64, ptr %room, i64 4
  %room5 = getelementptr i64, ptr %room, i64 5
  %room6 = getelementptr i64, ptr %room, i64 6
  store ptr %out, ptr %room
  store ptr %second, ptr %room1
  store ptr %out, ptr %room2
  store i64 %left.over, ptr %room3
  store i64 0, ptr %room4
  store i64 $SIZE, ptr %room5
  store i64 0, ptr %room6
  %ignored = call i32 %loop(ptr %context, ptr %room, ptr %room3, ptr %room4, ptr %auxiliary)
  br label %row.end

row.end:
  %r.next = add nuw nsw i64 %r, 1
  %over = icmp eq i64 %r.next, %rows
  br i1 %over, label %end, label %row

end:
  ret void
}
