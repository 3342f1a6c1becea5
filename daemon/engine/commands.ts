// What control tells the engine to do, and which part of the engine does it.
import type { Settings } from '../config/settings/table.ts';
import type { EngineSockets } from './accept/engine-sockets.ts';
import type { Channel } from './control/channel.ts';
import type { ControlLink } from './control/control-link.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Upstreams } from './upstream/upstreams.ts';

export interface CommandOptions {
  readonly channel: Pick<Channel, 'onGone'>;
  readonly control: ControlLink;
  readonly sockets: EngineSockets;
  readonly upstreams: Upstreams;
  readonly lifecycle: Lifecycle;
  /** These settings apply from now on. */
  readonly configure: (settings: Settings) => void;
}

/** Carries out the messages of control, from the first one that was sent. Without control, the engine finishes its streams. */
export function handleCommands(options: CommandOptions): void {
  const { channel, control, sockets, upstreams, lifecycle, configure } = options;
  channel.onGone(() => {
    lifecycle.drain('control is gone');
  });
  control.onMessage((message, server) => {
    switch (message.type) {
      case 'start':
        break;
      case 'listen':
        if (sockets.handle(message, server)) control.tell({ type: 'listening', id: message.id });
        break;
      case 'target socket':
      case 'close target socket':
        sockets.handle(message, undefined);
        break;
      case 'warm':
      case 'try':
        upstreams.for(message.plan.destination).warm(message.plan, message.type);
        break;
      case 'drop':
        upstreams.drop(message.plan.destination);
        break;
      case 'other engines':
        upstreams.setOtherEngines(message.connections);
        break;
      case 'trust changed':
        lifecycle.trustChanged(message);
        break;
      case 'read again':
        upstreams.readAgain();
        break;
      case 'settings':
        configure(message.settings);
        break;
      case 'drain':
        lifecycle.takenOver();
        break;
      case 'stop':
        void lifecycle.stop(message.who);
        break;
    }
  });
}
