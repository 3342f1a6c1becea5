// Tests the scripts of `bmuxd completion` in their shells, beside a daemon that knows two targets.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { BMUXD, startBmuxd } from '../daemon/bmuxd.ts';
import { onPath, run } from '../real/index.ts';

/** For each shell: loads the script and prints what `$LINE` is completed to, one word a line. */
const DRIVERS: Readonly<Record<string, string>> = {
  bash: `eval "$(bmuxd completion bash)"
COMP_LINE=$LINE COMP_POINT=\${#LINE} COMP_WORDS=($LINE) COMP_WORDBREAKS=$' \\t\\n:='
_bmuxd; printf '%s\\n' "\${COMPREPLY[@]}"`,
  // Stands in for zsh's own completion, which needs a terminal.
  zsh: `compdef() { :; }; _describe() { print -l -- "\${(@)found%%:*}"; [[ $found != *: ]] || print 'no description'; }; _normal() { print -r -- "program: $words"; }
_files() { print files; }
eval "$(bmuxd completion zsh)"
words=(\${(s: :)LINE}); [[ $LINE == *' ' ]] && words+=(''); CURRENT=$#words
_bmuxd`,
  fish: `bmuxd completion fish | source; complete -C $LINE | string replace -r '\\t.*' ''`,
};

t.test('completion in shells', async (t) => {
  const bmuxd = await startBmuxd({
    config: ['prod', 'preview', 'a:b', 'with space', '$(date)']
      .map((name) => `[connections.targets."${name}"]\n`)
      .join(''),
  });
  t.teardown(() => bmuxd.stop());
  const bin = join(bmuxd.folder, 'bmuxd');
  await writeFile(bin, `#!/bin/sh\nexec '${process.execPath}' '${BMUXD}' "$@"\n`, { mode: 0o755 });
  for (const [shell, driver] of Object.entries(DRIVERS)) {
    t.test(shell, { skip: onPath(shell) === undefined && `${shell} not found` }, async (t) => {
      const completed = async (line: string) => {
        const env = { ...bmuxd.env, LINE: line, PATH: `${bmuxd.folder}:${process.env['PATH'] ?? ''}` };
        const ran = await run(shell, ['-c', driver], { LANG: 'C.UTF-8', ...env });
        t.equal(ran.stderr, '', line);
        return ran.stdout.trim().split('\n').sort();
      };
      t.same(await completed('bmuxd tru'), ['trust']);
      t.same(await completed('bmuxd exec pr'), ['preview', 'prod']);
      t.same(await completed('bmuxd status --wai'), ['--wait']);
      t.same(await completed('bmuxd --vers'), ['--version']);
      for (const quote of ['"', "'"])
        t.same(await completed(`bmuxd exec ${quote}pr`), ['preview', 'prod'], 'in an open quote');
      const assigned = await completed('bmuxd env --shell=f');
      t.same(assigned, [shell === 'bash' ? 'fish' : '--shell=fish'], 'bash replaces what follows the sign');
      await writeFile(join(bmuxd.folder, 'report.json'), '');
      const file = await completed(`bmuxd doctor --bundle ${bmuxd.folder}/rep`);
      t.same(file, [shell === 'zsh' ? 'files' : join(bmuxd.folder, 'report.json')]);
      if (shell === 'bash') {
        t.same(await completed('bmuxd warm a:'), ['b'], 'bash replaces what follows the colon');
        t.ok((await completed('bmuxd exec a:b -- ech')).includes('echo'));
        t.same(await completed('bmuxd warm wi'), ['with\\ space'], 'bash quotes nothing by itself');
        t.same(await completed('bmuxd warm with\\ sp'), ['with\\ space']);
        t.same(await completed('bmuxd warm $'), ['\\$\\(date\\)']);
        t.same(await completed('bmuxd warm "with sp'), ['with space']);
        t.same(await completed('bmuxd warm "$'), ['\\$(date)'], 'it is no command in the quote');
        t.same(await completed("bmuxd warm '$"), ['$(date)']);
        t.same(await completed('bmuxd warm "a:'), ['a:b'], 'bash replaces all behind the quote');
      }
      if (shell === 'zsh') t.same(await completed('bmuxd exec prod -- ls -l'), ['program: ls -l']);
      if (shell === 'fish') t.ok((await completed('bmuxd exec prod -- ech')).includes('echo'));
    });
  }
});
