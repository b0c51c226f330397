/* eioload - single-threaded epoll load generator for Engine.IO v4 servers (loopback).
 * build: gcc -O2 -march=native -Wall -o eioload eioload.c
 * usage: eioload SCENARIO [--host 127.0.0.1] [--port P] [--path /engine.io/] [-n N] [-d D] [-s S]
 *        [-c C] [-t T] [-w W] [--binary] [--fill text|json|sio|digits|utf8] [--pid PID] [--polling]
 *        [--poll-conns 1|2] [--keepalive] [--hold H] [--rounds R] [--name NAME] [--pace P]
 * --pace: ws-echo and poll-echo send P messages/s in all, one in flight per client, instead of as fast as they
 *        are echoed.  Latency then counts from when a message was due, so it shows what waits for a slow server.
 * scenarios: ws-echo ws-connect poll-echo poll-connect idle fanout upgrade
 * One JSON line on stdout.  Server CPU = utime+stime(+reaped children) of the --pid process tree.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64; typedef uint32_t u32; typedef uint8_t u8;

/* ---------------------------------------------------------------- options */
enum { SC_WSECHO, SC_WSCONN, SC_POLLECHO, SC_POLLCONN, SC_IDLE, SC_FANOUT, SC_UPGRADE };
static const char *SCN[] = {"ws-echo","ws-connect","poll-echo","poll-connect","idle","fanout","upgrade"};
static int scen = -1;
static char host[64] = "127.0.0.1", path[256] = "/engine.io/", name_[64] = "";
static int port = 5000, N = 100, D = 1, S = 32, C = 20, binary_ = 0, polling = 0, pollconns = 2, keepalive_ = 0;
static double T = 5, W = 1, H = 30, CT = 60;
static long R = 0; static double pace = 0; static double maxrate = 15000;
static char fill[16] = "text";
static int srvpid = 0;

static u64 now(void){ struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); return (u64)t.tv_sec*1000000000ull+t.tv_nsec; }

/* ------------------------------------------------------------- histogram */
#define SUB 64
#define HB (40*SUB)
static u64 hist[HB]; static u64 hcnt; static double hsum; static u64 hmax;
static inline int hidx(u64 v){ if(v<SUB) return (int)v; int e=63-__builtin_clzll(v); return (e-5)*SUB + (int)((v>>(e-6))&(SUB-1)); }
static u64 hval(int i){ if(i<SUB) return i; int e=i/SUB+5; return ((u64)(SUB+i%SUB)<<(e-6)) + ((1ull<<(e-6))>>1); }
static inline void hadd(u64 v){ int i=hidx(v); if(i>=HB)i=HB-1; hist[i]++; hcnt++; hsum+=v; if(v>hmax)hmax=v; }
static double hpct(double p){ u64 t=(u64)(p*hcnt); if(t>=hcnt&&hcnt)t=hcnt-1; u64 c=0; for(int i=0;i<HB;i++){ c+=hist[i]; if(c>t) return hval(i)/1e3; } return 0; }

/* -------------------------------------------------------- /proc accounting */
static int tree[4096], ntree;
static void scan_tree(void){
  ntree=0; if(!srvpid) return;
  static int pid[32768], ppid[32768]; int n=0;
  DIR*d=opendir("/proc"); struct dirent*e; if(!d) return;
  while((e=readdir(d)) && n<32768){ if(!isdigit((u8)e->d_name[0])) continue;
    char f[320],b[1024]; snprintf(f,sizeof f,"/proc/%s/stat",e->d_name); int fd=open(f,O_RDONLY); if(fd<0) continue;
    int r=read(fd,b,sizeof b-1); close(fd); if(r<=0) continue; b[r]=0; char*p=strrchr(b,')'); if(!p) continue;
    pid[n]=atoi(b); ppid[n]=0; char st; sscanf(p+2,"%c %d",&st,&ppid[n]); n++; }
  closedir(d);
  tree[ntree++]=srvpid;
  for(int i=0;i<ntree;i++) for(int j=0;j<n;j++) if(ppid[j]==tree[i] && ntree<4096) tree[ntree++]=pid[j];
}
typedef struct { double cpu,u,s; long rss,pss; int nproc,nthr; } pstat;
static pstat sample(int full){
  pstat z; memset(&z,0,sizeof z); if(!srvpid) return z;
  scan_tree(); double hz=sysconf(_SC_CLK_TCK); long pg=sysconf(_SC_PAGESIZE);
  for(int i=0;i<ntree;i++){ char f[64],b[4096]; snprintf(f,sizeof f,"/proc/%d/stat",tree[i]); int fd=open(f,O_RDONLY); if(fd<0) continue;
    int r=read(fd,b,sizeof b-1); close(fd); if(r<=0) continue; b[r]=0; char*p=strrchr(b,')'); if(!p) continue; z.nproc++;
    unsigned long ut=0,st=0; long cut=0,cst=0,nt=0;
    sscanf(p+2,"%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld %*d %*d %ld",&ut,&st,&cut,&cst,&nt);
    z.u+=(ut+cut)/hz; z.s+=(st+cst)/hz; z.nthr+=nt;
    snprintf(f,sizeof f,"/proc/%d/statm",tree[i]); fd=open(f,O_RDONLY);
    if(fd>=0){ r=read(fd,b,sizeof b-1); close(fd); if(r>0){ b[r]=0; long a,c; if(sscanf(b,"%ld %ld",&a,&c)==2) z.rss+=c*pg; } }
    if(full){ snprintf(f,sizeof f,"/proc/%d/smaps_rollup",tree[i]); fd=open(f,O_RDONLY);
      if(fd>=0){ r=read(fd,b,sizeof b-1); close(fd); if(r>0){ b[r]=0; char*q=strstr(b,"\nPss:"); if(q) z.pss+=atol(q+5)*1024; } } } }
  z.cpu=z.u+z.s; return z;
}
static void cpustat(u64*busy,u64*steal,u64*tot,const char*which){ *busy=*steal=*tot=0; FILE*f=fopen("/proc/stat","r"); if(!f) return; char l[512]; size_t k=strlen(which);
  while(fgets(l,sizeof l,f)) if(!strncmp(l,which,k)&&l[k]==' '){ u64 v[8]={0}; sscanf(l+k,"%lu %lu %lu %lu %lu %lu %lu %lu",&v[0],&v[1],&v[2],&v[3],&v[4],&v[5],&v[6],&v[7]);
    for(int i=0;i<8;i++)*tot+=v[i]; *steal=v[7]; *busy=*tot-v[3]-v[4]-v[7]; break; } fclose(f); }
static double selfcpu(void){ struct rusage r; getrusage(RUSAGE_SELF,&r); return r.ru_utime.tv_sec+r.ru_stime.tv_sec+(r.ru_utime.tv_usec+r.ru_stime.tv_usec)/1e6; }

/* -------------------------------------------------------------- conn state */
enum { ST_FREE, ST_CONNECTING, ST_HTTPHS, ST_OPEN, ST_CLOSING };
enum { K_WS, K_HTTP };
typedef struct sess sess;
typedef struct conn {
  int fd; u8 st, kind, want, hs_done; u8 role; u8 req; /* req: http request in flight */
  u8 *in; u32 il, ic; u8 *out; u32 ol, oo, oc; u8 *frag; u32 fl, fc;
  u32 txs, rxs; u64 *ts; u64 t0; sess *s; int idx; u8 outst; u8 ever; u32 gen, need;
  struct conn *dirty_next; u8 dirty;
} conn;
struct sess { conn *g, *p; char sid[80]; int st; int got; u64 tpost, due; u8 posting, getting, needpong, opened; int up; u64 t0; int idx; u32 seq; };

static int ep; static int alive; static volatile int stop_;
static int measuring; static u64 msgs, bytes_, conns_ok, errs, reord, badecho, reconn, pings, slowclose, closeframe, eoffirst; static char errmsg[128][64]; static int nerrmsg;
static u64 errkind[128];
static u64 lastprog;
static void err(const char*fmt,...){ char b[64]; va_list a; va_start(a,fmt); vsnprintf(b,sizeof b,fmt,a); va_end(a); errs++;
  for(char*p=b;*p;p++) if(*p=='"'||*p=='\\'||(u8)*p<32) *p='_';
  for(int i=0;i<nerrmsg;i++) if(!strcmp(errmsg[i],b)){ errkind[i]++; return; }
  if(nerrmsg<128){ strcpy(errmsg[nerrmsg],b); errkind[nerrmsg++]=1; } }

static void on_connected(conn*); static void on_wsopen(conn*); static void on_eio(conn*,u8*,u32,int bin); static void on_http(conn*,int status,u8*body,u32 n,int willclose); static void on_closed(conn*,const char*why);

static conn *newconn(void){ conn*c=calloc(1,sizeof*c); c->fd=-1; return c; }
static u8 msgtpl[1<<22]; static u32 msglen; /* EIO payload incl leading '4' (text) */
static u8 frmtpl[1<<22]; static u32 frmlen, frmhdr; static const u8 MK[4]={0x37,0xfa,0x21,0x3d};
#define SEQOFF seqoff
static int seqoff=-1; /* offset in msgtpl of 8 hex digit sequence, -1 if no room */

static void ensure(u8**b,u32*cap,u32 need){ if(*cap>=need) return; u32 c=*cap?*cap:256; while(c<need)c*=2; *b=realloc(*b,c); *cap=c; }
static void wantw(conn*c,int w){ if(c->want==w) return; c->want=w; struct epoll_event e; e.events=EPOLLIN|(w?EPOLLOUT:0); e.data.ptr=c; epoll_ctl(ep,EPOLL_CTL_MOD,c->fd,&e); }
static void dropconn(conn*c){ if(c->fd>=0){ close(c->fd); c->fd=-1; alive--; } c->st=ST_FREE; c->gen++; c->need=0; c->il=0; c->ol=c->oo=0; c->fl=0; c->req=0; c->hs_done=0; c->want=0; }
static void flush(conn*c){ while(c->oo<c->ol){ ssize_t r=write(c->fd,c->out+c->oo,c->ol-c->oo); if(r>0){ c->oo+=r; continue; } if(r<0&&errno==EINTR) continue; if(r<0&&errno==EAGAIN){ wantw(c,1); return; } return; /* error shows up on read */ }
  c->oo=c->ol=0; if(c->want&&c->st!=ST_CONNECTING) wantw(c,0); }
static conn *dirtyh; static void mark(conn*c){ if(!c->dirty){ c->dirty=1; c->dirty_next=dirtyh; dirtyh=c; } }
static void flush_dirty(void){ while(dirtyh){ conn*c=dirtyh; dirtyh=c->dirty_next; c->dirty=0; if(c->fd>=0&&c->st!=ST_CONNECTING) flush(c); } }
static void put(conn*c,const void*d,u32 n){ if(c->oo==c->ol) c->oo=c->ol=0; ensure(&c->out,&c->oc,c->ol+n); memcpy(c->out+c->ol,d,n); c->ol+=n; mark(c); }

static struct sockaddr_in sa;
static int dial(conn*c,int kind){ int fd=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC,0); if(fd<0){ err("socket:%d",errno); return -1; }
  int one=1; setsockopt(fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
  c->fd=fd; c->kind=kind; c->il=c->ol=c->oo=c->fl=0; c->req=0; c->hs_done=0; c->t0=now(); alive++;
  int r=connect(fd,(struct sockaddr*)&sa,sizeof sa); if(r<0&&errno!=EINPROGRESS){ err("connect:%d",errno); dropconn(c); return -1; }
  c->st=ST_CONNECTING; c->want=1; struct epoll_event e; e.events=EPOLLIN|EPOLLOUT; e.data.ptr=c; epoll_ctl(ep,EPOLL_CTL_ADD,fd,&e); return 0; }

/* ----------------------------------------------------------------- ws tx */
static void ws_send(conn*c,int op,const void*d,u32 n){ u8 h[14]; u32 k=2; h[0]=0x80|op; if(n<126)h[1]=0x80|n; else if(n<65536){ h[1]=0x80|126; h[2]=n>>8; h[3]=n; k=4; } else { h[1]=0x80|127; memset(h+2,0,4); h[6]=n>>24; h[7]=n>>16; h[8]=n>>8; h[9]=n; k=10; }
  memcpy(h+k,MK,4); k+=4; put(c,h,k); u32 o=c->ol; ensure(&c->out,&c->oc,o+n); for(u32 i=0;i<n;i++) c->out[o+i]=((const u8*)d)[i]^MK[i&3]; c->ol+=n; }
static const char HX[]="0123456789abcdef";
static inline void hex8(u8*d,u32 v){ for(int i=7;i>=0;i--){ d[i]=HX[v&15]; v>>=4; } }
static inline u32 unhex8(const u8*d){ u32 v=0; for(int i=0;i<8;i++){ u8 ch=d[i]; v=v<<4|(ch<='9'?ch-'0':ch-'a'+10); } return v; }
static void ws_send_msg(conn*c,u64 t){ /* pre-masked template + sequence */
  if(c->oo==c->ol) c->oo=c->ol=0; ensure(&c->out,&c->oc,c->ol+frmlen); u8*o=c->out+c->ol; memcpy(o,frmtpl,frmlen);
  if(seqoff>=0){ u8*q=o+frmhdr+seqoff; hex8(q,c->txs); for(int i=0;i<8;i++) q[i]^=MK[(seqoff+i)&3]; }
  c->ol+=frmlen; c->ts[c->txs%D]=t; c->txs++; mark(c); }
static void build_template(void){ /* message payload: S bytes of application data */
  u8*m=msgtpl; u32 n=0; if(!binary_) m[n++]='4';
  u8*a=m+n; const char*pre="";
  if(!binary_){ if(!strcmp(fill,"json")) pre="{\"k\":\""; else if(!strcmp(fill,"sio")) pre="2[\"m\",\""; else if(!strcmp(fill,"digits")) pre="7"; else if(!strcmp(fill,"utf8")) pre="\xc3\xa9"; else pre="t"; }
  u32 pl=strlen(pre); const char*post=!binary_&&!strcmp(fill,"json")?"\"}":!binary_&&!strcmp(fill,"sio")?"\"]":""; u32 ql=strlen(post);
  if((u32)S<pl+ql){ memset(a,'t',S); } else { memcpy(a,pre,pl); for(u32 i=pl;i<S-ql;i++) a[i]=!strcmp(fill,"utf8")?((i-pl)%2?0xa9:0xc3):"abcdefghijklmnopqrstuvwxyz"[i%26]; memcpy(a+S-ql,post,ql);
    if(!strcmp(fill,"utf8")&&(S-pl)%2) a[S-1]='x';
    if((u32)S>=pl+ql+8){ seqoff=n+pl; memset(m+seqoff,'0',8); } }
  if(binary_) for(u32 i=0;i<n+S;i++) if(seqoff<0||i<(u32)seqoff||i>=(u32)seqoff+8) a[i]=(u8)(i*7);
  msglen=n+S; u8*h=frmtpl; u32 k=2; h[0]=0x80|(binary_?2:1); if(msglen<126)h[1]=0x80|msglen; else if(msglen<65536){ h[1]=0x80|126; h[2]=msglen>>8; h[3]=msglen; k=4; } else { h[1]=0x80|127; memset(h+2,0,4); h[6]=msglen>>24; h[7]=msglen>>16; h[8]=msglen>>8; h[9]=msglen; k=10; }
  memcpy(h+k,MK,4); k+=4; frmhdr=k; for(u32 i=0;i<msglen;i++) h[k+i]=msgtpl[i]^MK[i&3]; frmlen=k+msglen; }
/* returns 1 if the echo is byte-identical (sequence aside) */
static int check_echo(const u8*d,u32 n,u32*seq){ if(n!=msglen) return 0; if(seqoff<0){ *seq=(u32)-1; return !memcmp(d,msgtpl,n); }
  if(memcmp(d,msgtpl,seqoff)||memcmp(d+seqoff+8,msgtpl+seqoff+8,n-seqoff-8)) return 0; *seq=unhex8(d+seqoff); return 1; }

/* --------------------------------------------------------------- requests */
static void ws_handshake(conn*c,const char*sid){ char b[768]; int n=snprintf(b,sizeof b,"GET %s?EIO=4&transport=websocket%s%s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",path,sid?"&sid=":"",sid?sid:"",host,port); c->st=ST_HTTPHS; put(c,b,n); }
static void http_get(conn*c,const char*sid){ char b[512]; int n=snprintf(b,sizeof b,"GET %s?EIO=4&transport=polling%s%s HTTP/1.1\r\nHost: %s:%d\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n",path,sid?"&sid=":"",sid?sid:"",host,port); c->req=1; put(c,b,n); }
static void http_post(conn*c,const char*sid,const void*body,u32 bl){ char b[512]; int n=snprintf(b,sizeof b,"POST %s?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: %s:%d\r\nConnection: keep-alive\r\nAccept: */*\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: %u\r\n\r\n",path,sid,host,port,bl); c->req=2; put(c,b,n); put(c,body,bl); }
static int parse_sid(const u8*b,u32 n,char*o){ const char k[]="\"sid\":"; const u8*p=memmem(b,n,k,6); if(!p) return -1; p+=6; const u8*e=b+n; while(p<e&&*p!='"')p++; p++; int i=0; while(p<e&&*p!='"'&&i<79) o[i++]=*p++; o[i]=0; return i?0:-1; }

/* ------------------------------------------------------------ input parse */
static void ws_input(conn*c){ u32 p=0, g=c->gen;
  while(c->gen==g){ u32 a=c->il-p; if(a<2) break; u8*b=c->in+p; u32 h=2; u64 n=b[1]&0x7f; if(b[1]&0x80){ err("masked server frame"); dropconn(c); on_closed(c,"masked"); return; }
    if(n==126){ if(a<4) break; n=b[2]<<8|b[3]; h=4; } else if(n==127){ if(a<10) break; n=0; for(int i=2;i<10;i++) n=n<<8|b[i]; h=10; }
    if(a<h+n){ c->need=h+n; break; }
    int op=b[0]&15, fin=b[0]>>7; u8*d=b+h; p+=h+n;
    if(op==9){ ws_send(c,10,d,n); continue; } if(op==10) continue;
    if(op==8){ if(c->st!=ST_CLOSING){ int code=n>=2?d[0]<<8|d[1]:0; err("ws close %d",code); } else closeframe++; dropconn(c); on_closed(c,"wsclose"); return; }
    if(!fin||op==0){ ensure(&c->frag,&c->fc,c->fl+n); memcpy(c->frag+c->fl,d,n); c->fl+=n; if(!fin) continue; d=c->frag; n=c->fl; c->fl=0; }
    on_eio(c,d,n,op==2); }
  if(c->gen!=g) return;
  if(p){ memmove(c->in,c->in+p,c->il-p); c->il-=p; } }
static int http_input(conn*c,int eof){ /* returns 1 if handled one response */
  u32 g=c->gen; while(c->gen==g&&c->il){ u8*b=c->in; u8*e=memmem(b,c->il,"\r\n\r\n",4); if(!e){ if(c->il>65536) err("hdr too long"); return 0; }
    u32 hl=e-b+4; int st=0; if(hl>12) st=atoi((char*)b+9); long cl=-1; int ch=0,clo=!memcmp(b,"HTTP/1.0",8), acc=0;
    u8*l=memchr(b,'\n',hl)+1; while(l<e){ u8*le=memchr(l,'\r',e+2-l); if(!le) break; u32 ln=le-l;
      if(ln>15&&!strncasecmp((char*)l,"content-length:",15)) cl=atol((char*)l+15);
      else if(ln>18&&!strncasecmp((char*)l,"transfer-encoding:",18)) ch=memmem(l,ln,"chunked",7)!=0;
      else if(ln>11&&!strncasecmp((char*)l,"connection:",11)){ if(strncasecmp((char*)l+11," close",6)==0) clo=1; if(strncasecmp((char*)l+11," keep-alive",11)==0) clo=0; }
      else if(ln>21&&!strncasecmp((char*)l,"sec-websocket-accept:",21)) acc=memmem(l,ln,"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",28)!=0;
      l=le+2; }
    if(c->kind==K_WS){ if(st!=101||!acc){ err("ws handshake status %d acc %d",st,acc); dropconn(c); on_closed(c,"hs"); return 1; }
      c->il-=hl; memmove(c->in,c->in+hl,c->il); c->hs_done=1; c->st=ST_OPEN; on_wsopen(c); if(c->gen==g&&c->il) ws_input(c); return 1; }
    u8*body=b+hl; u32 bl=0, used=0;
    if(ch){ u32 p=hl; static u8*dec; static u32 dc; u32 dl=0; int done=0; while(1){ u8*nl=memmem(b+p,c->il-p,"\r\n",2); if(!nl) return 0; u32 k=strtoul((char*)b+p,0,16); u32 q=nl-b+2; if(q+k+2>c->il) return 0; if(k==0){ p=q+2; done=1; break; } ensure(&dec,&dc,dl+k+1); memcpy(dec+dl,b+q,k); dl+=k; p=q+k+2; }
      if(!done) return 0; ensure(&dec,&dc,1); body=dec; bl=dl; used=p; }
    else if(cl>=0){ if(c->il<hl+cl){ c->need=hl+cl+1; return 0; } bl=cl; used=hl+cl; }
    else if(st==204||st==304){ used=hl; } else { if(!eof) return 0; bl=c->il-hl; used=c->il; clo=1; }
    static u8*tmp; static u32 tc; ensure(&tmp,&tc,bl+1); memcpy(tmp,body,bl); tmp[bl]=0;
    c->il-=used; memmove(c->in,c->in+used,c->il); int rq=c->req; c->req=0; (void)rq;
    if(clo||eof){ dropconn(c); } c->outst=rq; on_http(c,st,tmp,bl,clo); }
  return 1; }

static u8 rbuf[1<<20];
static void handle(conn*c,u32 ev){
  if(c->fd<0) return;
  if(c->st==ST_CONNECTING){ if(ev&(EPOLLOUT|EPOLLERR|EPOLLHUP)){ int er=0; socklen_t l=sizeof er; getsockopt(c->fd,SOL_SOCKET,SO_ERROR,&er,&l); if(er){ err("connect err %d",er); dropconn(c); on_closed(c,"connect"); return; }
      wantw(c,0); c->st=ST_OPEN; c->ever=1; on_connected(c); } return; }
  if(ev&EPOLLOUT) flush(c);
  if(ev&(EPOLLIN|EPOLLERR|EPOLLHUP)){
    u8*dst; u32 cap; int direct=0; if(c->il&&c->need>c->ic) ensure(&c->in,&c->ic,c->need);
    u32 space=c->ic-c->il;
    if(c->il&&space>=16384){ dst=c->in+c->il; cap=space; direct=1; } else { dst=rbuf; cap=sizeof rbuf; }
    ssize_t r=read(c->fd,dst,cap);
    if(r<0){ if(errno==EAGAIN||errno==EINTR) return; int wasclosing=c->st==ST_CLOSING, rq=c->req, e=errno; if(c->kind==K_HTTP) c->outst=rq; dropconn(c); if(!wasclosing) { if(c->kind==K_WS||rq) err("read err %d",e); } on_closed(c,"readerr"); return; }
    if(r==0){ int wasclosing=c->st==ST_CLOSING; u32 g=c->gen; if(c->kind==K_HTTP&&c->il&&c->req) http_input(c,1);
      if(c->gen!=g) return;
      int rq=c->req; if(c->kind==K_HTTP) c->outst=rq; dropconn(c); if(wasclosing) eoffirst++;
      if(!wasclosing&&(c->kind==K_WS||rq)) err(c->kind==K_WS?"ws eof":"http eof in flight req"); on_closed(c,"eof"); return; }
    bytes_+=r;
    if(direct){ c->il+=r; }
    else { if(!c->il){ /* parse in place, copy only what is left over */ u8*sv=c->in; u32 sc=c->ic, g=c->gen; c->in=rbuf; c->ic=sizeof rbuf; c->il=r; c->need=0;
        if(c->kind==K_WS&&c->hs_done) ws_input(c); else http_input(c,0);
        c->in=sv; c->ic=sc;
        if(c->gen==g&&c->il){ u32 l=c->il; ensure(&c->in,&c->ic,c->need>l?c->need:l); memcpy(c->in,rbuf,l); } else c->il=0;
        return; }
      ensure(&c->in,&c->ic,c->il+r); memcpy(c->in+c->il,rbuf,r); c->il+=r; }
    if(c->kind==K_WS&&c->hs_done) ws_input(c); else http_input(c,0);
  } }

/* -------------------------------------------------------------- scenarios */
static conn **cs; static sess *ss; static int nopen, ndead; static int phase; /* 0 opening, 1 running */
static u64 f_start; static int f_got; static u64 f_rounds; static u64 f_deliv;
static u64 tend=0; static int launched, inflight_open;
static void ws_start_load(conn*c){ u64 t=now(); for(int i=0;i<D;i++) ws_send_msg(c,t); }
static void fan_round(void){ f_got=0; f_start=now(); ws_send(cs[0],1,"4bcast",6); }

static void slot_go(int i); static void sess_go(sess*s); static void open_more(void);
static void sess_step(sess*s);

static void on_connected(conn*c){
  switch(scen){
    case SC_WSECHO: case SC_WSCONN: case SC_FANOUT: ws_handshake(c,0); break;
    case SC_IDLE: if(!polling) ws_handshake(c,0); else if(c->s->opened) sess_step(c->s); else http_get(c,0); break;
    case SC_POLLCONN: http_get(c,0); break;
    case SC_POLLECHO: if(c==c->s->g&&!c->s->sid[0]) http_get(c,0); else sess_step(c->s); break;
    case SC_UPGRADE: if(c->kind==K_WS) ws_handshake(c,c->s->sid); else http_get(c,0); break; } }
static void on_wsopen(conn*c){ if(scen==SC_UPGRADE) ws_send(c,1,"2probe",6); }
static void opened(void){ nopen++; inflight_open--; lastprog=now(); open_more(); }

static void on_eio(conn*c,u8*d,u32 n,int bin){
  if(c->st==ST_CLOSING) return;
  if(bin||(n&&d[0]=='4')){
    if(scen==SC_WSECHO){ u32 q=0; if(bin!=binary_||!check_echo(d,n,&q)){ badecho++; } 
      if(q!=(u32)-1&&q!=c->rxs) reord++;
      u64 t=now(); if(measuring){ msgs++; u32 k=(q!=(u32)-1&&seqoff>=0&&c->txs-q<=(u32)D)?q:c->rxs; hadd(t-c->ts[k%D]); } c->rxs++; if(!stop_&&!pace) ws_send_msg(c,t); return; }
    if(scen==SC_FANOUT){ if(++f_got==nopen-ndead){ u64 t=now(); lastprog=t; if(measuring){ f_rounds++; f_deliv+=f_got; hadd(t-f_start); } if(!stop_&&!(R&&f_rounds>=(u64)R)) fan_round(); else if(R&&f_rounds>=(u64)R) tend=1; } else if(f_got>nopen) badecho++; return; }
    if(scen==SC_UPGRADE){ u64 t=now(); if(n!=6||memcmp(d,"4hello",6)) badecho++; conns_ok++; if(measuring){ msgs++; hadd(t-c->s->t0); } lastprog=t; if(c->s->g->fd>=0) dropconn(c->s->g); u8 cl[2]={3,232}; ws_send(c,8,cl,2); c->st=ST_CLOSING; c->t0=t; return; }
    return; }
  if(!n){ err("empty packet"); return; }
  switch(d[0]){
    case '0': if(scen==SC_UPGRADE){ err("open on upgrade"); return; }
      if(n<2||d[1]!='{'){ err("bad open"); return; }
      if(scen==SC_WSCONN){ u64 t=now(); conns_ok++; lastprog=t; if(measuring){ msgs++; hadd(t-c->t0); } u8 cl[2]={3,232}; ws_send(c,8,cl,2); c->st=ST_CLOSING; c->t0=t; return; }
      if(c->outst==9) return; c->outst=9; opened(); return;
    case '2': pings++; ws_send(c,1,"3",1); return;
    case '3': if(scen==SC_UPGRADE&&n==6){ c->s->up=1; if(c->s->g->fd>=0&&c->s->g->req) return; ws_send(c,1,"5",1); ws_send(c,1,"4hello",6); c->s->up=2; } return;
    case '6': return;
    case '1': err("server close packet"); return;
    default: err("pkt type %c",d[0]); } }

/* polling sessions */
static u8 pbody[1<<22];
static u32 build_post(sess*s){ u32 n=0; if(binary_){ static const char B64[]="ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for(int i=0;i<D;i++){ if(i) pbody[n++]=0x1e; pbody[n++]='b'; u8*m=msgtpl; u32 l=msglen; if(seqoff>=0) hex8(m+seqoff,s->seq);
      for(u32 k=0;k<l;k+=3){ u32 v=m[k]<<16|(k+1<l?m[k+1]<<8:0)|(k+2<l?m[k+2]:0); pbody[n++]=B64[v>>18]; pbody[n++]=B64[v>>12&63]; pbody[n++]=k+1<l?B64[v>>6&63]:'='; pbody[n++]=k+2<l?B64[v&63]:'='; } if(seqoff>=0) memset(m+seqoff,'0',8); s->seq++; } return n; }
  for(int i=0;i<D;i++){ if(i) pbody[n++]=0x1e; memcpy(pbody+n,msgtpl,msglen); if(seqoff>=0) hex8(pbody+n+seqoff,s->seq); s->seq++; n+=msglen; } return n; }
static int ensure_conn(conn*c){ if(c->fd>=0) return c->st!=ST_CONNECTING; if(c->ever) reconn++; dial(c,K_HTTP); return 0; }
static void sess_step(sess*s){ /* issue whatever is due */
  conn*p=pollconns==2&&scen==SC_POLLECHO?s->p:s->g;
  if(scen==SC_IDLE){ if(s->g->req) return; if(!ensure_conn(s->g)) return; if(s->needpong){ s->needpong=0; http_post(s->g,s->sid,"3",1); } else http_get(s->g,s->sid); return; }
  if(phase==0) return;
  if(pollconns==2&&!s->g->req){ if(ensure_conn(s->g)) http_get(s->g,s->sid); }
  if(!p->req){
    if(s->needpong){ if(ensure_conn(p)){ s->needpong=0; s->posting=2; http_post(p,s->sid,"3",1); } return; }
    if(s->got==0){ if(stop_||(pace&&!s->due)) return; if(ensure_conn(p)){ s->got=D; s->posting=1; u32 n=build_post(s); s->tpost=s->due?s->due:now(); s->due=0; http_post(p,s->sid,pbody,n); } return; }
    if(pollconns==1&&!s->posting){ if(ensure_conn(s->g)) http_get(s->g,s->sid); } } }
static u8 b64v(u8 c){ return c>='A'&&c<='Z'?c-'A':c>='a'&&c<='z'?c-'a'+26:c>='0'&&c<='9'?c-'0'+52:c=='+'?62:63; }
static void poll_packets(sess*s,u8*b,u32 n){ u8*e=b+n; u64 t=now(); while(b<e){ u8*q=memchr(b,0x1e,e-b); if(!q) q=e; u32 l=q-b; int isb=l&&b[0]=='b';
    if(l&&(b[0]=='4'||isb)){ u8*d=b; u32 dl=l; if(isb){ static u8*bd; static u32 bc; ensure(&bd,&bc,l); u32 o=0; for(u32 i=1;i+3<l;i+=4){ u32 v=b64v(b[i])<<18|b64v(b[i+1])<<12|b64v(b[i+2])<<6|b64v(b[i+3]); bd[o++]=v>>16; if(b[i+2]!='=') bd[o++]=v>>8; if(b[i+3]!='=') bd[o++]=v; } d=bd; dl=o; }
      u32 qn; if(isb!=binary_||!check_echo(d,dl,&qn)) badecho++; if(s->got>0) s->got--; else badecho++; lastprog=t; if(measuring){ msgs++; hadd(t-s->tpost); } }
    else if(l&&b[0]=='2'){ s->needpong=1; pings++; } else if(l&&b[0]=='6'); else if(l&&b[0]=='1') err("server close packet"); else err("poll pkt %c",l?b[0]:'?');
    b=q+1; } }
static void on_http(conn*c,int status,u8*b,u32 n,int willclose){ sess*s=c->s; u64 t=now(); int rq=c->outst;
  if(status!=200){ b[n<40?n:40]=0; err("http %d %.40s",status,b); if(scen==SC_POLLCONN||scen==SC_UPGRADE){ if(c->fd>=0) dropconn(c); slot_go(c->idx); } return; }
  switch(scen){
    case SC_POLLCONN: if(n<2||b[0]!='0'||b[1]!='{') err("bad open"); else { conns_ok++; lastprog=t; if(measuring){ msgs++; hadd(t-c->t0); } }
      if(keepalive_&&c->fd>=0&&!stop_){ c->t0=t; http_get(c,0); } else { if(c->fd>=0) dropconn(c); slot_go(c->idx); } return;
    case SC_UPGRADE: if(!s->sid[0]){ if(parse_sid(b,n,s->sid)<0){ err("bad open"); dropconn(c); slot_go(c->idx); return; }
        if(c->fd>=0) http_get(c,s->sid); dial(s->p,K_WS); return; }
      /* poll released by noop */ if(s->up==1){ ws_send(s->p,1,"5",1); ws_send(s->p,1,"4hello",6); s->up=2; } return;
    case SC_IDLE: if(!s->opened){ if(parse_sid(b,n,s->sid)<0){ err("bad open"); return; } s->opened=1; opened(); sess_step(s); return; }
      if(rq==1){ poll_packets(s,b,n); lastprog=t; } sess_step(s); return;
    case SC_POLLECHO: if(!s->opened){ if(parse_sid(b,n,s->sid)<0){ err("bad open"); return; } s->opened=1; opened(); if(phase) sess_step(s); return; }
      if(rq==1) poll_packets(s,b,n); else { if(n<2||strncasecmp((char*)b,"ok",2)) err("post reply %.10s",b); s->posting=0; }
      sess_step(s); return; } }
static void on_closed(conn*c,const char*why){
  switch(scen){
    case SC_WSCONN: slot_go(c->idx); break;
    case SC_POLLCONN: slot_go(c->idx); break;
    case SC_UPGRADE: if(c->kind==K_WS){ if(c->s->g->fd>=0) dropconn(c->s->g); slot_go(c->idx); } else if(!c->s->sid[0]) slot_go(c->idx); else if(c->s->up==1){ ws_send(c->s->p,1,"5",1); ws_send(c->s->p,1,"4hello",6); c->s->up=2; } break;
    case SC_POLLECHO: if(c->outst){ if(!c->s->opened){ inflight_open--; open_more(); } else { if(c->outst==2){ c->s->posting=0; c->s->got=0; } if(!stop_) sess_step(c->s); } } break;
    case SC_IDLE: if(polling&&c->s->opened){ if(c->outst) sess_step(c->s); break; } /* fallthrough */
    default: if(c->outst!=9){ inflight_open--; open_more(); } else { ndead++; } } }
static int pend[65536], npend; static u64 rate_t0, rate_n;
static void slot_go(int i){ if(stop_){ return; } conn*c=cs[i];
  if(!rate_t0) rate_t0=now();
  if(rate_n>=C+maxrate*(now()-rate_t0)/1e9){ pend[npend++]=i; return; }
  rate_n++;
  if(scen==SC_UPGRADE){ sess*s=&ss[i]; s->sid[0]=0; s->up=0; s->t0=now(); dial(s->g,K_HTTP); return; }
  dial(c,scen==SC_WSCONN?K_WS:K_HTTP); }
static void sess_go(sess*s){ dial(s->g,K_HTTP); }
static void open_more(void){ while(inflight_open<C&&launched<N&&!stop_&&phase==0){ int i=launched++; inflight_open++; if(scen==SC_POLLECHO||(scen==SC_IDLE&&polling)) sess_go(&ss[i]); else dial(cs[i],K_WS); } }

static struct epoll_event evs[1024];
static int npend; static void unpend(void);
/* Send what is due, each message over the next client that is free. */
static u64 pace_due; static int pace_next;
static int pace_send(u64 due){ for(int k=0;k<N;k++){ int i=pace_next; pace_next=(i+1)%N;
    if(scen==SC_WSECHO){ conn*c=cs[i]; if(c->fd<0||c->outst!=9||c->txs!=c->rxs) continue; ws_send_msg(c,due); return 1; }
    sess*s=&ss[i]; if(!s->opened||s->due||s->got||s->posting) continue; s->due=due; sess_step(s); return 1; }
  return 0; }
static int pace_tick(int ms){ u64 t=now(); if(!pace_due) pace_due=t;
  while(!stop_&&pace_due<=t&&pace_send(pace_due)) pace_due+=(u64)(1e9/pace);
  flush_dirty(); return pace_due>t+2000000ull&&ms>1?1:0; }
static void pump(int ms){ if(npend){ ms=1; unpend(); } if(pace&&phase) ms=pace_tick(ms); int n=epoll_wait(ep,evs,1024,ms); for(int i=0;i<n;i++) handle(evs[i].data.ptr,evs[i].events); flush_dirty(); }
static void onalarm(int s){ (void)s; stop_=1; }
static void unpend(void){ int k=npend; npend=0; static int q[65536]; memcpy(q,pend,k*sizeof(int)); for(int i=0;i<k;i++) slot_go(q[i]); }
static void reap_slow(void){ u64 t=now(); if(scen!=SC_WSCONN&&scen!=SC_UPGRADE) return; for(int i=0;i<C;i++){ conn*c=scen==SC_UPGRADE?ss[i].p:cs[i]; if(c->fd>=0&&c->st==ST_CLOSING&&t-c->t0>1000000000ull){ slowclose++; dropconn(c); if(scen==SC_UPGRADE&&ss[i].g->fd>=0) dropconn(ss[i].g); slot_go(i); }
    else if(c->fd>=0&&c->st!=ST_CLOSING&&t-c->t0>5000000000ull){ err("handshake timeout"); dropconn(c); if(scen==SC_UPGRADE&&ss[i].g->fd>=0) dropconn(ss[i].g); slot_go(i);} } }
static void loadavg(double*l){ FILE*f=fopen("/proc/loadavg","r"); if(f){ if(fscanf(f,"%lf",l)!=1)*l=-1; fclose(f);} }

int main(int argc,char**argv){
  if(argc<2){ fprintf(stderr,"see the head of eioload.c\n"); return 2; }
  for(int i=0;i<7;i++) if(!strcmp(argv[1],SCN[i])) scen=i;
  if(scen<0){ fprintf(stderr,"unknown scenario %s\n",argv[1]); return 2; }
  static struct option lo[]={{"host",1,0,1},{"port",1,0,2},{"path",1,0,3},{"binary",0,0,4},{"fill",1,0,5},{"pid",1,0,6},{"polling",0,0,7},{"poll-conns",1,0,8},{"keepalive",0,0,9},{"hold",1,0,10},{"rounds",1,0,11},{"name",1,0,12},{"connect-timeout",1,0,13},{"max-rate",1,0,14},{"pace",1,0,15},{0,0,0,0}};
  optind=2; int o; int cset=0; while((o=getopt_long(argc,argv,"n:d:s:c:t:w:",lo,0))!=-1) switch(o){
    case 'n':N=atoi(optarg);break; case 'd':D=atoi(optarg);break; case 's':S=atoi(optarg);break; case 'c':C=atoi(optarg);cset=1;break; case 't':T=atof(optarg);break; case 'w':W=atof(optarg);break;
    case 1:snprintf(host,sizeof host,"%s",optarg);break; case 2:port=atoi(optarg);break; case 3:snprintf(path,sizeof path,"%s",optarg);break; case 4:binary_=1;break; case 5:snprintf(fill,sizeof fill,"%s",optarg);break; case 6:srvpid=atoi(optarg);break; case 7:polling=1;break; case 8:pollconns=atoi(optarg);break; case 9:keepalive_=1;break; case 10:H=atof(optarg);break; case 11:R=atol(optarg);break; case 12:snprintf(name_,sizeof name_,"%s",optarg);break; case 13:CT=atof(optarg);break; case 14:maxrate=atof(optarg);break; case 15:pace=atof(optarg);break; default:return 2; }
  if(S<1||S>1000000||D<1||N<1||N>19000||C<1){ fprintf(stderr,"bad args\n"); return 2; }
  if(strncmp(host,"127.",4)){ fprintf(stderr,"loopback only\n"); return 2; }
  if(!cset) C=20; signal(SIGPIPE,SIG_IGN); signal(SIGINT,onalarm); signal(SIGTERM,onalarm);
  sa.sin_family=AF_INET; sa.sin_port=htons(port); inet_pton(AF_INET,host,&sa.sin_addr);
  if(scen==SC_POLLECHO&&(u64)D*(S*4/3+8)>sizeof pbody){ fprintf(stderr,"too big\n"); return 2; }
  ep=epoll_create1(EPOLL_CLOEXEC); build_template();
  int slots=(scen==SC_WSCONN||scen==SC_POLLCONN||scen==SC_UPGRADE); int M=slots?C:N;
  cs=calloc(M,sizeof*cs); ss=calloc(M,sizeof*ss);
  for(int i=0;i<M;i++){ cs[i]=newconn(); cs[i]->idx=i; cs[i]->ts=calloc(D,8); ss[i].g=cs[i]; ss[i].p=newconn(); ss[i].p->idx=i; ss[i].idx=i; cs[i]->s=ss[i].p->s=&ss[i]; }
  double la0=-1,la1=-1; loadavg(&la0);
  pstat base=sample(1),a,b; u64 t_open0=now(); lastprog=now(); int stalled=0;
  /* ---- opening phase */
  if(!slots){ open_more(); u64 dl=now()+(u64)(CT*1e9); while(nopen<N&&!stop_&&now()<dl){ pump(100); if(inflight_open<=0&&launched>=N) break; } if(nopen<N) err("only %d of %d opened",nopen,N); }
  double topen=(now()-t_open0)/1e9; pstat opn=sample(scen==SC_IDLE);
  phase=1; u64 t0,t1; double c0,c1; u64 bz0,st0,tt0,bz1,st1,tt1; u64 dead0;
  if(scen==SC_IDLE){ measuring=1; /* settle 1 s, then measure the hold */
    u64 e=now()+1000000000ull; while(now()<e) pump(50); opn=sample(1); }
  if(slots) for(int i=0;i<C;i++) slot_go(i);
  if(scen==SC_WSECHO&&!pace) for(int i=0;i<N;i++) if(cs[i]->fd>=0&&cs[i]->outst==9) ws_start_load(cs[i]);
  if(scen==SC_POLLECHO) for(int i=0;i<N;i++) if(ss[i].opened) sess_step(&ss[i]);
  if(scen==SC_FANOUT&&nopen) fan_round();
  flush_dirty();
  if(scen!=SC_IDLE){ u64 e=now()+(u64)(W*1e9); while(now()<e&&!stop_){ pump(10); reap_slow(); } }
  u64 warm_errs=errs; dead0=ndead; measuring=1; msgs=0; bytes_=0; a=sample(0); c0=selfcpu(); cpustat(&bz0,&st0,&tt0,"cpu0"); t0=now(); u64 m_last=0, m_lt=t0;
  { u64 e=t0+(u64)((scen==SC_IDLE?H:T)*1e9),t; u64 rc=t0; while((t=now())<e&&!stop_&&!tend){ pump(scen==SC_IDLE?200:10); if(t-rc>100000000ull){ rc=t; reap_slow(); if(scen!=SC_IDLE){ u64 cur=msgs+f_deliv+f_got; if(cur!=m_last){ m_last=cur; m_lt=t; } else if(t-m_lt>3000000000ull){ stalled=1; break; } } } } }
  t1=now(); measuring=0; c1=selfcpu(); cpustat(&bz1,&st1,&tt1,"cpu0"); b=sample(scen==SC_IDLE); stop_=1; loadavg(&la1);
  double el=(t1-t0)/1e9, cpu=b.cpu-a.cpu; u64 cnt=scen==SC_FANOUT?f_deliv:msgs;
  printf("{\"name\":\"%s\",\"scenario\":\"%s\",\"n\":%d,\"d\":%d,\"s\":%d,\"c\":%d,\"fill\":\"%s\",\"binary\":%d,\"elapsed\":%.3f",name_,SCN[scen],slots?C:N,D,S,C,fill,binary_,el);
  if(scen==SC_POLLECHO) printf(",\"poll_conns\":%d",pollconns); if(pace) printf(",\"pace\":%.1f",pace);
  if(scen==SC_IDLE){ printf(",\"transport\":\"%s\",\"opened\":%d,\"open_s\":%.2f,\"alive_end\":%d,\"pings\":%lu,\"rss0\":%ld,\"rss_open\":%ld,\"rss_end\":%ld,\"rss_per_conn\":%.0f,\"rss_per_conn_end\":%.0f,\"pss_per_conn_end\":%.0f,\"threads\":%d,\"open_cpu_s\":%.2f,\"hold_cpu_s\":%.3f,\"cpu_us_per_conn_s\":%.2f",
      polling?"polling":"websocket",nopen,topen,alive,pings,base.rss,opn.rss,b.rss,nopen?(double)(opn.rss-base.rss)/nopen:0,nopen?(double)(b.rss-base.rss)/nopen:0,nopen?(double)(b.pss-base.pss)/nopen:0,b.nthr,opn.cpu-base.cpu,cpu,nopen?cpu*1e6/nopen/el:0); }
  else { printf(",\"count\":%lu,\"rate\":%.1f,\"per_cpu_s\":%.1f,\"us_cpu_per\":%.3f",cnt,cnt/el,cpu>0?cnt/cpu:0,cnt?cpu*1e6/cnt:0);
    if(scen==SC_FANOUT) printf(",\"rounds\":%lu",f_rounds);
    printf(",\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"mean_us\":%.1f,\"max_us\":%.1f",hpct(.5),hpct(.99),hpct(.999),hcnt?hsum/hcnt/1e3:0,hmax/1e3); }
  printf(",\"srv_cpu_s\":%.2f,\"srv_util\":%.3f,\"srv_sys_frac\":%.3f,\"cli_util\":%.3f,\"cpu0_busy\":%.3f,\"cpu0_steal\":%.3f,\"nproc\":%d,\"threads_\":%d,\"load0\":%.2f,\"load1\":%.2f",cpu,cpu/el,cpu>0?(b.s-a.s)/cpu:0,(c1-c0)/el,tt1>tt0?(double)(bz1-bz0)/(tt1-tt0):0,tt1>tt0?(double)(st1-st0)/(tt1-tt0):0,b.nproc,b.nthr,la0,la1);
  printf(",\"errors\":%lu,\"warm_errors\":%lu,\"badecho\":%lu,\"reordered\":%lu,\"reconnects\":%lu,\"slow_close\":%lu,\"close_frames\":%lu,\"close_eof\":%lu,\"dead\":%lu,\"stalled\":%d,\"mb_in\":%.1f,\"rss_mb\":%.1f",errs,warm_errs,badecho,reord,reconn,slowclose,closeframe,eoffirst,(u64)(ndead-dead0),stalled,bytes_/1e6,b.rss/1e6);
  if(nerrmsg){ printf(",\"err_kinds\":{"); for(int i=0;i<nerrmsg&&i<8;i++) printf("%s\"%s\":%lu",i?",":"",errmsg[i],errkind[i]); printf("}"); }
  printf("}\n"); fflush(stdout);
  /* orderly close */
  for(int i=0;i<M;i++){ if(cs[i]->fd>=0){ if(cs[i]->kind==K_WS&&cs[i]->hs_done&&cs[i]->st!=ST_CLOSING){ u8 cl[2]={3,232}; cs[i]->st=ST_CLOSING; ws_send(cs[i],8,cl,2);} } }
  flush_dirty(); return 0; }
