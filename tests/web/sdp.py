"""Offers as browsers make them."""
FINGERPRINT = ':'.join(['7B'] * 32)
H264 = {102: 'H264/90000', 'fmtp': 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f'}


def video(codecs=('H264', 'VP8'), mid='1', direction='recvonly', setup='actpass', ufrag='abcd'):
    types = {'VP8': (96, None), 'H264': (102, H264['fmtp']), 'AV1': (45, 'level-idx=5')}
    lines = [f'm=video 9 UDP/TLS/RTP/SAVPF {" ".join(str(types[c][0]) for c in codecs)}',
             'c=IN IP4 0.0.0.0', 'a=rtcp:9 IN IP4 0.0.0.0', f'a=ice-ufrag:{ufrag}',
             'a=ice-pwd:0123456789012345678901', 'a=ice-options:trickle',
             f'a=fingerprint:sha-256 {FINGERPRINT}', f'a=setup:{setup}', f'a=mid:{mid}',
             f'a={direction}', 'a=rtcp-mux', 'a=rtcp-rsize']
    for codec in codecs:
        kind, fmtp = types[codec]
        lines += [f'a=rtpmap:{kind} {codec}/90000', f'a=rtcp-fb:{kind} nack', f'a=rtcp-fb:{kind} nack pli']
        lines += [f'a=fmtp:{kind} {fmtp}'] if fmtp else []
    return lines


def audio(mid='0'):
    return ['m=audio 9 UDP/TLS/RTP/SAVPF 111', 'c=IN IP4 0.0.0.0', 'a=rtcp:9 IN IP4 0.0.0.0',
            'a=ice-ufrag:abcd', 'a=ice-pwd:0123456789012345678901',
            f'a=fingerprint:sha-256 {FINGERPRINT}', 'a=setup:actpass', f'a=mid:{mid}', 'a=recvonly',
            'a=rtcp-mux', 'a=rtpmap:111 opus/48000/2', 'a=fmtp:111 minptime=10;useinbandfec=1']


def offer(*media):
    mids = [line[6:] for lines in media for line in lines if line.startswith('a=mid:')]
    lines = ['v=0', 'o=- 4611731400430051336 2 IN IP4 127.0.0.1', 's=-', 't=0 0',
             f'a=group:BUNDLE {" ".join(mids)}', 'a=msid-semantic: WMS']
    return '\r\n'.join(lines + [line for m in media for line in m]) + '\r\n'
