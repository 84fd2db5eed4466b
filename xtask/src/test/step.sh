# step NAME LIMIT COMMAND...: runs it for at most LIMIT seconds, where no other boot has begun it; leaves /out/NAME.log, .stderr
# and .status ("STATUS SECONDS").
step() {
    local name=$1 limit=$2 start=$SECONDS ended
    shift 2
    mkdir "/heap/$name" 2> /dev/null || return 0
    echo "==> $name"
    timeout --kill-after 10 "$limit" "$@" 2> "/out/$name.stderr" | tee "/out/$name.log"
    ended=("${PIPESTATUS[0]}" $((SECONDS - start)))
    echo "${ended[*]}" > "/out/$name.status"
    echo "==> $name: exit ${ended[0]}, ${ended[1]} s"
}
