// Changes a file of the service. What the system refuses is told with the file.
import { textOf } from '../../../base/failure.ts';
import { fail } from '../../../errors/fail.ts';

/** Does `work` on the file at `path`; rejects with `service_file_unwritable`. */
export async function changeFile(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw fail('service_file_unwritable', { path, why: textOf(error) }, error);
  }
}
