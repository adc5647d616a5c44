# Says that it runs, starts a process of its own, and prints the length of what it was given.
document=$(cat)
step=$(printf '%s' "$document" | sed -n 's/.*"step": *"\([a-z]*\)".*/\1/p')
printf '%s script %s\n' "$KILL_LIFE" "$step" >> "$KILL_FOLDER/notes"
sleep 60 &
sleep 0.01
printf '{"step": "%s", "length": %s}\n' "$step" "${#document}"
